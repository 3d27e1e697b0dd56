import numpy as np
import pytest

from nanov2t.inverter import Inverter
from nanov2t.search.options import SearchOptions
from nanov2t.t5.inference import Pair, Writer


class Noting:
    """An embedder that notes the texts of every call."""

    def __init__(self, embedder):
        self.embedder, self.calls = embedder, []

    def __getattr__(self, name):
        return getattr(self.embedder, name)

    def encode(self, texts):
        self.calls.append(list(texts))
        return self.embedder.encode(texts)


@pytest.fixture
def exhaustive(tiny):
    embedder = Noting(tiny.embedder)
    pair = Pair(embedder, tiny.tokenizer, tiny.hypothesizer, tiny.corrector)
    return Inverter(pair, SearchOptions(search="exhaustive"))


def test_every_round_rewrites_the_best_of_the_last_and_keeps_its_own(exhaustive, minilm, passages):
    target = minilm.encode([passages[0][:60]])
    [found] = exhaustive.invert(target, rounds=3, beam=2)
    calls = exhaustive.embedder.calls
    assert [len(texts) for texts in calls] == [
        1,
        2,
        2 * len(set(calls[1])),
        2 * min(2, len(set(calls[2]))),
    ]
    assert found.embedder_calls == sum(map(len, calls)) == found.rounds[-1].embedder_calls
    for texts, best in zip(calls, found.rounds, strict=True):
        cosines = (minilm.encode(texts) * target).sum(1)
        assert best.text == texts[int(cosines.argmax())]
        np.testing.assert_allclose(best.cosine, cosines.max(), atol=1e-5)


def test_only_an_exact_text_ends_it_early(exhaustive, minilm, passages):
    texts = [text[:40].lower() for text in passages[:2]]
    found = exhaustive.invert(minilm.encode(texts), rounds=2, beam=2, drafts=[texts[0], "not it"])
    assert [(f.stopped, len(f.rounds)) for f in found] == [("exact", 1), ("rounds", 3)]


def test_fifty_rounds_by_default(exhaustive, minilm, passages, monkeypatch):
    rounds = []
    monkeypatch.setattr(
        Writer, "correct", lambda self, targets, *given, beams: [["a"]] * len(targets)
    )
    exhaustive.invert(
        minilm.encode([passages[0]]), on_round=lambda i, best: rounds.append(best.round)
    )
    assert rounds == list(range(51))
