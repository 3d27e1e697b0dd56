from collections import Counter

import numpy as np
import pytest
import torch

from nanov2t import fast
from nanov2t.core.errors import UserError
from nanov2t.inverter import Inverter
from nanov2t.t5.generator import Generator
from nanov2t.t5.inference import Pair, Writer


@pytest.fixture(scope="module")
def vectors(minilm, passages):
    return minilm.encode([text[:60] for text in passages[:4]])


class Counting:
    """An embedder that notes every text it is given."""

    def __init__(self, embedder):
        self.embedder, self.texts = embedder, Counter()

    def __getattr__(self, name):
        return getattr(self.embedder, name)

    def encode(self, texts):
        self.texts.update(texts)
        return self.embedder.encode(texts)


def test_answers_never_get_worse(tiny, vectors):
    for found in tiny.invert(vectors[:2], rounds=3, beam=2):
        cosines = [r.cosine for r in found.rounds]
        assert cosines == sorted(cosines)
        assert found.cosine == cosines[-1] and found.text == found.rounds[-1].text
        assert [r.round for r in found.rounds] == list(range(len(cosines)))


def test_the_cosine_is_that_of_the_text(tiny, vectors, minilm):
    found = tiny.invert(vectors, rounds=1, beam=3)
    again = (minilm.encode([f.text for f in found]) * vectors).sum(1)
    np.testing.assert_allclose([f.cosine for f in found], again, atol=1e-5)


def test_results_do_not_depend_on_the_batch(tiny, vectors):
    def key(found):
        return found.text, found.stopped, found.embedder_calls, [r.text for r in found.rounds]

    expected = [key(found) for found in tiny.invert(vectors, rounds=2, beam=2)]
    for batch in (1, 3):
        found = dict(tiny.with_options(rounds=2, beam=2, batch=batch).stream(vectors))
        assert [key(found[i]) for i in range(4)] == expected


def test_vectors_do_not_depend_on_what_they_are_made_with(minilm, passages):
    texts = [passage[:n] for n, passage in zip((0, 7, 30, 31, 90, 2000), passages, strict=False)]
    whole = minilm.encode(texts)
    assert whole.shape == (6, 384) and minilm.encode([]).shape == (0, 384)
    np.testing.assert_allclose(whole, minilm.model.encode(texts), atol=1e-6)
    assert all(
        np.array_equal(minilm.encode(texts[i:j]), whole[i:j]) for i, j in ((0, 1), (1, 4), (3, 6))
    )


def test_nothing_is_embedded_twice_and_calls_are_counted(tiny, vectors):
    counting = Counting(tiny.embedder)
    inverter = Inverter(Pair(counting, tiny.tokenizer, tiny.hypothesizer, tiny.corrector))
    [found] = inverter.invert(vectors[:1], rounds=3, beam=3)
    assert set(counting.texts.values()) == {1}
    assert found.embedder_calls == len(counting.texts) == found.rounds[-1].embedder_calls


def test_no_hypothesis_is_expanded_twice(tiny, vectors, monkeypatch):
    expanded = Counter()
    generate = Generator.generate

    def note(self, target, vectors=None, ids=None, mask=None, **options):
        if vectors is not None:
            expanded.update(row.tobytes() for row in vectors.float().numpy())
        return generate(self, target, vectors, ids, mask, **options)

    monkeypatch.setattr(Generator, "generate", note)
    tiny.invert(vectors[:1], rounds=3, beam=3)
    assert expanded and set(expanded.values()) == {1}


def test_the_next_best_is_rewritten_once_the_best_was(tiny, vectors, monkeypatch):
    rewritten = []

    def nothing(self, targets, drafts, vectors, beams):
        rewritten.extend(vectors)
        return [[] for _ in vectors]

    monkeypatch.setattr(Writer, "correct", nothing)
    [found] = tiny.invert(vectors[:1], rounds=9, beam=4)
    cosines = [float(vector @ vectors[0]) for vector in rewritten]
    assert found.stopped == "converged" and len(found.rounds) > 2
    assert len(set(cosines)) == 4 and cosines == sorted(cosines, reverse=True)


@pytest.mark.parametrize(
    ("has", "packs", "dtype"),
    [
        ((), True, torch.float32),
        (("avx512_bf16",), True, torch.bfloat16),
        (("avx512_bf16",), False, torch.float32),
        (("avx512_bf16", "avx512_fp16"), True, torch.float32),
        (("avx512_bf16", "avx512_fp16", "amx_bf16"), True, torch.bfloat16),
    ],
)
def test_bfloat16_where_it_is_faster(monkeypatch, has, packs, dtype):
    monkeypatch.setattr(fast, "packs_bfloat16", lambda: packs)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict.fromkeys(has, True))
    assert fast.search_dtype(torch.device("cpu")) == dtype


def test_stops(tiny, vectors, minilm, passages):
    drafts = ["not it"] * 3 + [passages[3][:60].lower()]
    found = tiny.invert(vectors, rounds=1, beam=2, drafts=drafts)
    assert (
        found[3].stopped == "exact" and len(found[3].rounds) == 1 and found[3].embedder_calls == 1
    )
    assert {f.stopped for f in found[:3]} == {"rounds"}
    alone = Inverter(Pair(minilm, tiny.tokenizer, tiny.hypothesizer, None))
    assert {f.stopped for f in alone.invert(vectors, rounds=5, beam=2)} == {"converged"}


def test_a_corrector_alone_starts_from_nothing(tiny, vectors, minilm):
    alone = Inverter(Pair(minilm, tiny.tokenizer, None, tiny.corrector))
    [found] = alone.invert(vectors[:1], rounds=1, beam=2)
    assert found.rounds[0].text == "" and found.rounds[1].cosine >= found.rounds[0].cosine


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda v: v[:, :-1], "384"),
        (lambda v: v[0], "384"),
        (lambda v: np.where(np.arange(4)[:, None] == 3, np.nan, v), "vector 3 is not finite"),
        (lambda v: np.where(np.arange(4)[:, None] == 2, np.inf, v), "vector 2 is not finite"),
        (lambda v: v * (np.arange(4)[:, None] != 1), "vector 1 is zero"),
    ],
)
def test_bad_vectors_are_refused_by_name(tiny, vectors, spoil, said):
    with pytest.raises(UserError, match=said):
        tiny.invert(spoil(vectors), rounds=0)


def test_as_many_drafts_as_vectors(tiny, vectors):
    with pytest.raises(UserError, match="1 drafts for 4 vectors"):
        tiny.invert(vectors, drafts=["a"])
