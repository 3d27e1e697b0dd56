"""Alignments, and the vectors that they let the bundled inverter read."""

import dataclasses
import re

import numpy as np
import pytest
import second as second_module

from nanov2t import Budget, load_inverter
from nanov2t.align.alignment import Alignment, Seen, pack
from nanov2t.align.making import alignment_of, crops, make_alignment, ridge
from nanov2t.core.errors import UserError
from nanov2t.core.vectors import cosine, unit
from nanov2t.embedders.function import FunctionEmbedder
from nanov2t.pretrained import DEFAULT
from nanov2t.search.aligned import COUNT, JUDGED, AlignedPopulation, Neighbours
from nanov2t.search.options import SearchOptions
from nanov2t.search.state import SearchState


def seen_of(alignment, judge, reader, texts, held):
    """Texts as a search keeps them once they were judged."""
    vectors = alignment.whitened(judge.encode(texts))
    return Seen(vectors @ alignment.whitened(held[None])[0], vectors, reader.encode(texts))


TEXTS = ["the train was late again", "my father repairs clocks"]


def test_ridge_is_the_least_squares_of_both_forms():
    rng = np.random.default_rng(0)
    for n, d in ((50, 8), (8, 50)):
        x, y = rng.normal(size=(n, d)), rng.normal(size=(n, 3))
        weights, constant = ridge(x, y, 0.5)
        centred, wanted = x - x.mean(0), y - y.mean(0)
        gradient = centred.T @ (centred @ weights - wanted) + 0.5 * weights
        np.testing.assert_allclose(gradient, 0, atol=1e-9)
        np.testing.assert_allclose((x @ weights + constant).mean(0), y.mean(0), atol=1e-9)


def test_what_an_alignment_knows(second, minilm, alignment):
    assert alignment.agreement > 0.55
    assert not alignment.sees_case and not alignment.sees_spacing  # its tokenizer is MiniLM's
    assert alignment.noise < 1e-6
    long = "a letter from my sister in the north told us about the long winter there"
    short, longer = alignment.tokens(second.encode([TEXTS[0], long]))
    assert 3 < short < 8 < longer
    # By its cosine a changed word is smaller or larger than by the reader's.
    near = ["the train was late again today", "the train was late again yesterday"]
    theirs, ours = (1 - cosine(*np.split(e.encode(near), 2))[0] for e in (second, minilm))
    assert alignment.scale == pytest.approx(theirs / ours, rel=0.7)


def test_learning_on_finds_the_place_that_the_map_misses(second, minilm, alignment, passages):
    text = "the bridge was finished in spring"
    near = [text.replace(w, o) for w in text.split() for o in ("night", "garden", "two")]
    held, place = second.encode([text])[0], minilm.encode([text])[0]
    mapped = unit(alignment.place(alignment.whitened(held[None])))[0]
    learnt = alignment.learn(held, seen_of(alignment, second, minilm, near, held))
    assert learnt @ place > 0.93 > mapped @ place
    # A text that was judged already is its own place.
    known = alignment.learn(held, seen_of(alignment, second, minilm, [*near, text], held))
    assert known @ place > 0.98


def test_texts_of_a_second_embedder_come_back(second, aligned):
    vectors = second.encode(TEXTS)
    for text, inversion in zip(TEXTS, aligned.invert(vectors), strict=True):
        assert inversion.text == text and inversion.stopped == "exact"
        assert inversion.embedder_calls <= 3000


def test_every_judged_text_is_counted_and_the_budget_kept(second, aligned, monkeypatch):
    seen: list[str] = []

    def counting(texts):
        seen.extend(texts)
        return second_module.embed(texts)

    monkeypatch.setattr(second, "function", counting)
    vectors = second.encode(["a museum of old radios opened in the harbour"])
    seen.clear()
    [inversion] = aligned.invert(vectors, budget=Budget(embeddings=200))
    assert inversion.embedder_calls == len(seen) == len(set(seen)) == 200
    assert inversion.stopped == "budget"
    [vector] = second.encode([inversion.text])
    assert inversion.cosine == pytest.approx(float(vector @ vectors[0]), abs=1e-6)


def test_an_alignment_is_found_again_and_small(second, minilm, alignment, tmp_path):
    alignment.save(tmp_path / "a")
    again = Alignment.load(tmp_path / "a")
    assert again.embedder == alignment.embedder and again.scale == alignment.scale
    vectors = second.encode(TEXTS)
    np.testing.assert_allclose(
        again.place(again.whitened(vectors)),
        alignment.place(alignment.whitened(vectors)),
        atol=2e-3,
    )
    assert sum(f.stat().st_size for f in (tmp_path / "a").iterdir()) < 5 << 20
    again.check(second)


def test_an_alignment_for_another_model_or_version_is_refused(second, alignment, minilm):
    with pytest.raises(UserError, match=r"is for name second:embed, not .*MiniLM.*: align again"):
        alignment.check(minilm)

    def retrained(texts):
        return second_module.embed([text[::-1] for text in texts])

    other = FunctionEmbedder(retrained, "second:embed")
    with pytest.raises(UserError, match=r"another version of second:embed: .* apart: align again"):
        alignment.check(other)


@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_a_damaged_alignment_is_one_line(alignment, tmp_path, damage):
    alignment.save(tmp_path / "a")
    path = tmp_path / "a" / "alignment.safetensors"
    path.unlink() if damage == "missing" else path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match="missing" if damage == "missing" else "damaged alignment"):
        Alignment.load(tmp_path / "a")


def test_an_alignment_is_made_once_and_made_anew_for_another_version(minilm, capsys, monkeypatch):
    monkeypatch.setattr("nanov2t.align.making.PAIRS", 100)
    calls = []

    def embed(texts):
        calls.append(len(texts))
        return minilm.encode(texts)[:, :200] * (1 if len(calls) < 10**6 else 2)

    judge = FunctionEmbedder(embed, "mine:embed")
    first = alignment_of(judge, minilm)
    assert "aligning mine:embed once: 5" in capsys.readouterr().err
    calls.clear()
    second = alignment_of(judge, minilm)
    assert sum(calls) == 4 and second.pairs == first.pairs == 100  # the probes alone
    monkeypatch.setattr(judge, "function", lambda texts: minilm.encode(texts)[:, 100:300])
    third = alignment_of(judge, minilm)
    assert "another version of mine:embed" in capsys.readouterr().err
    assert not np.allclose(third.centre, first.centre)


def test_vectors_of_another_embedder_are_doubted(second, alignment, passages):
    own = second.encode(passages[:20])
    assert alignment.doubt(own) == "" == alignment.doubt(-own[:3])  # three are too few to tell
    said = alignment.doubt(np.random.default_rng(0).normal(size=(20, 256)))
    assert said.startswith("the vectors do not look like those of second:embed")


def test_two_bits_a_number_keep_the_direction_of_a_vector(alignment):
    vectors = np.random.default_rng(0).normal(size=(50, 256)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    kept = dataclasses.replace(alignment, known=pack(vectors)).vectors
    assert cosine(kept, vectors).min() > 0.9 and cosine(kept, vectors[::-1]).max() < 0.4


def test_single_words_say_what_a_text_is_about(second, minilm, alignment):
    text = "the museum is near the railway station"
    nats = alignment.evidence(second.encode([text])[0], len(minilm.tokenizer))
    ranks = np.argsort(np.argsort(-nats))
    found = minilm.tokenizer.convert_tokens_to_ids(["museum", "railway", "station"])
    assert np.median(ranks[found]) < 30
    assert nats.min() == 0 and 3 < nats.max() <= 8


def test_known_texts_and_words_place_a_vector_better_than_the_map(
    second, minilm, alignment, passages
):
    texts = [" ".join(passage.lower().split()[:8]) for passage in passages[:30]]
    vectors, places = second.encode(texts), minilm.encode(texts)
    learnt = [alignment.learn(v, alignment.neighbours(v, minilm)) for v in vectors]
    gain = cosine(np.array(learnt), places) - cosine(
        alignment.place(alignment.whitened(vectors)), places
    )
    assert gain.mean() > 0.03


def test_the_forecast_ranks_texts_that_were_not_judged(second, minilm, alignment, passages):
    text = "the bridge was finished in spring"
    near = [text.replace(w, o) for w in text.split() for o in ("night", "garden", "two", "old")]
    judged, others = near[::2], [*near[1::2], text]
    held, truly = second.encode([text])[0], cosine(second.encode(others), second.encode([text]))
    seen = seen_of(alignment, second, minilm, judged, held)
    forecast = alignment.forecast(held, seen, minilm.encode(others))
    ranks = np.argsort(np.argsort(forecast)), np.argsort(np.argsort(truly))
    assert np.corrcoef(*ranks)[0, 1] > 0.7
    assert forecast[-1] > np.quantile(forecast, 0.8)


def test_crops_are_short_and_written_in_two_ways(minilm, passages):
    found = crops(passages, minilm, 60)
    lengths = {len(ids) - 2 for ids in minilm.tokenize(found)}
    assert len(found) == 60 and {4, 8, 16} <= lengths and max(lengths) <= 16
    assert any(text != text.lower() for text in found)


@pytest.mark.parametrize(
    ("vectors", "said"),
    [
        (lambda texts: np.ones((len(texts) + 1, 4)), r"gave float32 of shape \(5, 4\) for 4 texts"),
        (lambda texts: np.ones(len(texts)), r"of shape \(4,\)"),
        (lambda texts: np.zeros((len(texts), 4)), "zero or not finite"),
        (lambda texts: np.full((len(texts), 4), np.nan), "zero or not finite"),
        (lambda texts: [["a"] * 4] * len(texts), "ValueError: could not convert string"),
        (lambda texts: 1 / 0, "embedder f: ZeroDivisionError: division by zero"),
    ],
)
def test_a_function_that_gives_no_vectors_is_one_line(vectors, said):
    with pytest.raises(UserError, match=said):
        FunctionEmbedder(vectors, "f")


def test_a_function_that_changes_its_mind_is_one_line(second, aligned, monkeypatch):
    vectors = second.encode(TEXTS)
    monkeypatch.setattr(second, "function", lambda texts: second_module.embed(texts)[:, :100])
    with pytest.raises(UserError, match=r"gave vectors of shape \(\d+, 100\) for \d+ texts"):
        aligned.invert(vectors)

    def broken(texts):
        made = second_module.embed(texts)
        made[-1] = np.nan
        return made

    monkeypatch.setattr(second, "function", broken)
    with pytest.raises(UserError, match=r"the vector of '.+' is not finite"):
        aligned.invert(vectors)


def test_too_few_texts_are_refused(second, minilm, tmp_path):
    with pytest.raises(UserError, match="--pairs must be at least 20, not 0"):
        make_alignment(second, minilm, pairs=0)
    (tmp_path / "few.txt").write_text("one line of five words\n" * 5)
    with pytest.raises(UserError, match="2 texts are too few to align second:embed"):
        make_alignment(second, minilm, str(tmp_path / "few.txt"))


def test_vectors_of_another_dimension_name_the_remedy(bundled):
    said = "vectors have 768 numbers, sentence-transformers/all-MiniLM-L6-v2 makes 384: name the"
    with pytest.raises(UserError, match=re.escape(said)):
        bundled.invert(np.ones((2, 768), np.float32))


def test_an_aligned_folder_is_an_inverter(second, alignment, tmp_path):
    alignment.save(tmp_path / "mine")
    inverter = load_inverter(tmp_path / "mine", budget=Budget(embeddings=50))
    assert inverter.embedder.name == "second:embed" and inverter.reader.dim == 384
    [inversion] = inverter.invert(second.encode(TEXTS[:1]))
    assert inversion.embedder_calls >= 20
    renamed = dataclasses.replace(second.info, name="other:embed")
    with pytest.raises(UserError, match="is for name second:embed, not other:embed"):
        other = FunctionEmbedder(second_module.embed, "other:embed")
        assert other.info.name == renamed.name
        load_inverter(tmp_path / "mine", embedder=other)


def test_the_readers_own_vectors_need_no_alignment(minilm):
    assert load_inverter(DEFAULT, embedder=minilm).alignment is None


PIER = "the boat was at the old pier"


def neighbours_of(draft, text, judge, inverter):
    """A state that has judged a draft of a text, and what Neighbours then suggests, by rounds."""
    [target] = inverter._targets(judge.encode([text]), [draft])
    state = SearchState(0, target, SearchOptions(rounds=5))
    AlignedPopulation(inverter.reader).rank([state], [[draft]])
    neighbours = Neighbours(inverter.networks.engine.editor, inverter.reader)
    return state, [neighbours.suggest(state) for _ in range(40)]


@pytest.mark.parametrize(
    "draft",
    [
        "the boat was on the old pier",
        "the boat was the old pier",
        "the boat was at the old wooden pier",
        "at the old pier the boat was",
    ],
)
def test_neighbours_of_the_nearest_text_mend_it_in_one_round(second, aligned, draft):
    state, rounds = neighbours_of(draft, PIER, second, aligned)
    tried = [text for texts in rounds for text in texts]
    assert len(tried) == len(set(tried)) and rounds[-1] == [], "each text once"
    assert PIER in rounds[0] and len(rounds[0]) == COUNT
    AlignedPopulation(aligned.reader).rank([state], [rounds[0]])
    assert state.pool[0].text == PIER and state.embedder_calls <= 1 + JUDGED


def test_neighbours_know_rare_words(second, aligned):
    text = PIER.replace("boat", "nectar")
    assert (
        aligned.networks.engine.editor.frequent_words.count(aligned.tokenizer.vocab["nectar"]) == 0
    )
    _, rounds = neighbours_of(PIER, text, second, aligned)
    assert text in [text for texts in rounds[:4] for text in texts]
