"""Evolution with the bundled inverter: what holds of every search, and that it finds texts."""

import gc

import numpy as np
import pytest

from nanov2t import load_inverter
from nanov2t.core.errors import UserError
from nanov2t.embedders.text import reference
from nanov2t.inverter import Inverter
from nanov2t.load import BUNDLED, EngineNetworks
from nanov2t.models.dictionary import Dictionary
from nanov2t.pretrained import DEFAULT
from nanov2t.search.options import Budget, SearchOptions
from nanov2t.search.population import CHECKED, Population
from nanov2t.search.state import SearchState
from nanov2t.targets import prepare_targets

TEXTS = ["my father repairs old clocks.", "the key is under the blue pot.", "call me at 555 - 0147"]
ROUNDS = 3


class Counting:
    """An embedder that notes what it embeds, exactly or to see its states."""

    def __init__(self, embedder):
        self.embedder, self.exactly, self.roughly = embedder, [], []

    def __getattr__(self, name):
        return getattr(self.embedder, name)

    def encode(self, texts):
        self.exactly += texts
        return self.embedder.encode(texts)

    def states_by_length(self, texts):
        self.roughly += texts
        return self.embedder.states_by_length(texts)


@pytest.fixture(scope="module")
def vectors(minilm):
    return minilm.encode(TEXTS)


@pytest.fixture(scope="module")
def found(bundled, vectors):
    return bundled.invert(vectors, rounds=ROUNDS)


def key(inversion):
    """All that was found, to the last bit, but for the time it took."""
    rounds = [(r.text, r.cosine, r.embedder_calls) for r in inversion.rounds]
    hypotheses = [(h.text, h.cosine) for h in inversion.hypotheses]
    return inversion.text, inversion.cosine, inversion.stopped, rounds, hypotheses


@pytest.mark.parametrize(
    ("batch", "texts"), [(1, TEXTS[1:2]), (2, ["a grey cat", TEXTS[2], TEXTS[0]])]
)
def test_an_answer_does_not_depend_on_what_is_searched_beside_it(
    bundled, minilm, found, batch, texts
):
    """Alone, and beside other texts at other places."""
    again = dict(bundled.with_options(rounds=ROUNDS, batch=batch).stream(minilm.encode(texts)))
    for i, text in enumerate(texts):
        if text in TEXTS:
            assert key(again[i]) == key(found[TEXTS.index(text)])


def test_answers_never_get_worse_and_say_what_they_are_worth(minilm, vectors, found):
    for target, inversion in zip(vectors, found, strict=True):
        cosines = [r.cosine for r in inversion.rounds]
        assert cosines == sorted(cosines)
        [vector] = minilm.encode([inversion.text])
        assert inversion.cosine == pytest.approx(float(vector @ target), abs=1e-6)
        assert inversion.hypotheses[0].text == inversion.text


def test_no_text_is_embedded_twice(minilm, bundled, vectors):
    counting = Counting(minilm)
    networks = bundled.dictionary, bundled.hypothesizer, bundled.corrector
    inverter = Inverter(EngineNetworks(counting, *networks))
    [inversion] = inverter.invert(vectors[:1], rounds=ROUNDS)
    for texts in (counting.exactly, counting.roughly):
        assert len(texts) == len(set(texts))
    assert inversion.embedder_calls == len(counting.exactly) + len(counting.roughly)


def test_a_sentence_comes_back_exactly(bundled, vectors):
    [inversion] = bundled.invert(vectors[:1])
    assert inversion.stopped == "exact" and inversion.text == TEXTS[0]
    assert inversion.cosine >= 1 - 1e-5


@pytest.mark.parametrize("embeddings", [1, 50, 300])
def test_a_budget_is_kept_within_one_small_batch(bundled, vectors, embeddings):
    budget = Budget(embeddings=embeddings)
    [inversion] = bundled.invert(vectors[2:], budget=budget)
    assert inversion.stopped == "budget"
    assert embeddings <= inversion.embedder_calls <= embeddings + CHECKED


def test_time_ends_a_search(bundled, vectors):
    [inversion] = bundled.invert(vectors[2:], budget=Budget.parse("0.001s"))
    assert inversion.stopped == "budget" and len(inversion.rounds) == 1


@pytest.mark.parametrize("text", ["much", "0", "0s", "-5", "1.5", ""])
def test_what_is_no_budget_is_refused(text):
    with pytest.raises(UserError, match=rf"budget '{text}': expected a number of embeddings"):
        Budget.parse(text)


def test_a_call_may_set_effort_and_budget_and_give_lists(minilm, bundled, vectors):
    [sparing] = bundled.invert(vectors[2:], effort="fast")
    loaded = load_inverter(DEFAULT, embedder=minilm, effort="fast")
    assert key(sparing) == key(loaded.invert(vectors[2:])[0])
    assert bundled.options.effort == "default"
    assert key(bundled.invert(vectors[2:].tolist(), effort="fast")[0]) == key(sparing)
    with pytest.raises(UserError, match="expected rows of numbers, all of one length"):
        bundled.invert([[1.0, 2.0], [3.0]])


def test_tokens_that_the_embedder_cannot_read_are_counted(minilm, bundled):
    """Another emoji has the same vector, so such a text is never exact beyond doubt."""
    text = "thank you \U0001f600 very much"
    other = text.replace("\U0001f600", "\U0001f383")
    vectors = minilm.encode([text])
    assert np.array_equal(vectors, minilm.encode([other])) and minilm.unseen(text) == 1
    seen = reference(text, minilm.tokenizer, minilm, 32)
    assert seen == "thank you [UNK] very much"
    assert np.array_equal(minilm.encode([seen]), vectors)
    [inversion] = bundled.invert(vectors, rounds=1, drafts=[text])
    assert inversion.stopped == "exact" and inversion.unseen == 1
    [inversion] = bundled.invert(vectors, rounds=0)
    assert inversion.unseen == 0


def test_what_is_kept_of_a_search_ends_with_it(bundled, minilm, passages):
    """Memory does not grow with the number of vectors."""

    def alive():
        return sum(type(thing) is SearchState for thing in gc.get_objects())

    streaming = bundled.with_options(rounds=1, beam=1, batch=3)
    gc.collect()
    vectors, before = minilm.encode([text[:20] for text in passages[:8]]), alive()
    during = [alive() - before for _ in streaming.stream(iter(vectors))]
    assert len(during) == 8 and max(during) <= 3 and alive() == before


@pytest.mark.parametrize("draft", ["", "\u200b", "word " * 200])
def test_a_search_may_start_from_any_draft(bundled, vectors, draft):
    [inversion] = bundled.invert(vectors[:1], rounds=2, drafts=[draft])
    cosines = [r.cosine for r in inversion.rounds]
    assert inversion.rounds[0].text == draft and cosines[-1] > cosines[0] + 0.05


def test_a_draft_is_where_a_search_starts(bundled, vectors):
    draft = "my father repairs ancient clocks."
    [inversion] = bundled.invert(vectors[:1], rounds=4, drafts=[draft])
    assert inversion.rounds[0].text == draft and inversion.stopped == "exact"


def test_what_makes_less_difference_than_rounding_is_found(minilm):
    """Judged roughly, the text seems no nearer than the draft does judged exactly."""
    text = (
        "the liver is an organ of the body that stores sugar, makes proteins and removes poisons"
        " ( such as alcohol and ammonia ) from the blood, bile and lymph"
    )
    draft = text.replace(" an ", " a ")
    exact, near = minilm.encode([text, draft])
    assert 1e-5 < 1 - near @ exact < 5e-5
    [target] = prepare_targets(exact[None], minilm.info, None, [draft], 0)
    state, population = SearchState(0, target, SearchOptions(rounds=5)), Population(minilm)
    for texts in ([draft], [text]):
        population.rank([state], [texts])
        assert state.pool[0].text == texts[0]


def test_a_dictionary_alone_finds_what_a_draft_lacks(minilm, vectors):
    dictionary = Dictionary.load(BUNDLED[DEFAULT] / "dictionary")
    alone = Inverter(EngineNetworks(minilm, dictionary))
    drafts = ["my father repairs old boats.", "the key is under the pot."]
    inversions = alone.invert(vectors[:2], drafts=drafts)
    assert [inversion.text for inversion in inversions] == TEXTS[:2]


def test_a_damaged_or_foreign_dictionary_is_refused(tmp_path):
    known = Dictionary.load(BUNDLED[DEFAULT] / "dictionary")
    known.save(tmp_path / "dictionary")
    again = Dictionary.load(tmp_path / "dictionary")
    assert np.allclose(again.states, known.states, atol=1e-2)
    path = tmp_path / "dictionary" / "dictionary.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match="damaged dictionary"):
        load_inverter(tmp_path)
    path.unlink()
    with pytest.raises(UserError, match="is missing"):
        load_inverter(tmp_path)
