"""The one place that every vector passes before it is inverted."""

import numpy as np
import pytest

from nanov2t.core.errors import UserError
from nanov2t.embedders.base import EmbedderInfo
from nanov2t.inverter import Inverter
from nanov2t.load import load_inverter
from nanov2t.pretrained import DEFAULT
from nanov2t.search.options import SearchOptions
from nanov2t.targets import TOLERANCE, Judge, Knowledge, describe_vectors, prepare_targets

UNIT = EmbedderInfo("unit", 384, 256, normalized=True, lowercase=True, fingerprint="")
FREE = EmbedderInfo("free", 384, 256, normalized=False, lowercase=True, fingerprint="")


@pytest.fixture(scope="module")
def vectors(minilm, passages):
    return minilm.encode([text[:60] for text in passages[:4]])


def stacked(targets):
    return np.stack([target.vector for target in targets])


def test_unit_vectors_stay_as_they_are_and_others_become_unit(vectors):
    assert np.array_equal(stacked(prepare_targets(vectors, UNIT)), vectors)
    np.testing.assert_allclose(stacked(prepare_targets(3 * vectors, UNIT)), vectors, atol=1e-6)
    assert np.array_equal(stacked(prepare_targets(3 * vectors, FREE)), 3 * vectors)


def test_rounded_vectors_are_exact_from_further_away_on(vectors):
    for scale in (127 / np.abs(vectors).max(), 1000):
        rounded = (vectors * scale).round().astype(np.int16)
        targets = prepare_targets(rounded, UNIT)
        cosines = (stacked(targets) * vectors).sum(1)
        tolerances = np.array([target.tolerance for target in targets])
        assert (1 - cosines < tolerances).all() and (tolerances < 10 * (1 - cosines) + 1e-5).all()
    assert {target.tolerance for target in prepare_targets(vectors, UNIT)} == {TOLERANCE}
    signs = prepare_targets(np.sign(vectors), UNIT) + prepare_targets(np.eye(384)[:2], UNIT)
    assert {target.tolerance for target in signs} == {TOLERANCE}, "whole, but never rounded"


def test_a_row_is_prepared_as_it_is_alone(vectors):
    mixed = np.concatenate([vectors[:1], (vectors[1:] * 300).round()])
    together = prepare_targets(mixed, UNIT)
    for i, target in enumerate(together):
        [alone] = prepare_targets(mixed[i : i + 1], UNIT)
        assert np.array_equal(alone.vector, target.vector) and alone.tolerance == target.tolerance


@pytest.mark.parametrize(
    ("info", "scale", "rounded", "said"),
    [
        (UNIT, 1, False, ["of unit length"]),
        (UNIT, 2, False, ["scaled to unit length, as unit makes them"]),
        (UNIT, 400, True, ["rounded to whole numbers", "scaled to unit length"]),
        (FREE, 2, False, []),
        (FREE, 1, False, ["of unit length", "which free does not make"]),
        (FREE, 400, True, ["rounded to whole numbers", "which free does not make"]),
    ],
)
def test_what_a_user_should_know(vectors, info, scale, rounded, said):
    values = vectors * scale
    remarks = describe_vectors(values.round() if rounded else values, info)
    assert len(remarks) == len(said)
    assert all(part in remark for part, remark in zip(said, remarks, strict=True))


def test_an_offset_is_remarked(vectors):
    remarks = describe_vectors((vectors * 300 + 128).clip(0, 255).round(), UNIT)
    assert "an offset was added" in remarks[0] and "scaled to unit" in remarks[1]


def test_errors_name_the_row(vectors):
    bad = vectors.copy()
    bad[2] = 0
    with pytest.raises(UserError, match="vector 12 is zero"):
        prepare_targets(bad, UNIT, first=10)


def test_a_defence_stands_before_every_search(tiny, vectors):
    def turned(given):
        return given[:, ::-1].copy()

    for search in ("default", "exhaustive"):
        defended = Inverter(tiny.networks, SearchOptions(search=search), turned)
        defended = defended.invert(vectors[:2], 1, 2)
        expected = tiny.with_options(search=search).invert(turned(vectors[:2]), 1, 2)
        assert [f.text for f in defended] == [f.text for f in expected]
        assert [f.cosine for f in defended] == [f.cosine for f in expected]
    with pytest.raises(UserError, match="vector 0 is zero"):
        Inverter(tiny.networks, defence=np.zeros_like).invert(vectors, 0, 1)


def test_rows_are_counted_through_where_vectors_come_one_by_one(tiny, vectors):
    stream = (vectors[0] if i < 70 else vectors[0] * np.nan for i in range(71))
    with pytest.raises(UserError, match="vector 70 is not finite"):
        list(tiny.with_options(rounds=0, beam=1).stream(stream))


def test_one_who_knows_the_defence_judges_texts_by_their_defended_vectors(minilm):
    texts = ["the ferry leaves at nine.", "the ferry left at nine."]
    plain = minilm.encode(texts)
    held, knowledge = np.sign(plain), Knowledge(np.sign, lambda vectors: 0.1 * vectors)
    [target, _] = prepare_targets(held, UNIT, judge=Judge(knowledge=knowledge))
    np.testing.assert_allclose(target.vector, held[0] / np.sqrt(384), atol=1e-6)
    judged = target.judge.defend(target.judge.embed(texts, plain))
    assert np.array_equal(judged, held) and np.array_equal(target.held, held[0])
    inverter = load_inverter(DEFAULT, embedder=minilm)
    [known], [unknown] = (
        inverter.invert(held[:1], 0, 1, texts[:1], knowledge=k) for k in (knowledge, None)
    )
    assert (known.stopped, known.cosine) == ("exact", 1)
    assert unknown.cosine < 0.9 and unknown.stopped != "exact"


def test_vectors_that_no_first_guess_comes_near_are_doubted(minilm, passages, capsys):
    inverter = load_inverter(DEFAULT, embedder=minilm)
    own = minilm.encode([passage[:40] for passage in passages[:8]])
    inverter.invert(own, rounds=0)
    assert capsys.readouterr().err == ""
    wrong = load_inverter(DEFAULT, embedder=minilm)
    wrong.invert(np.roll(own, 7, axis=1), rounds=0)
    said = capsys.readouterr().err
    wrong.invert(np.roll(own[:1], 7, axis=1), rounds=0)
    assert capsys.readouterr().err == "", "it is said once"
    assert "no first guess of 8 comes near" in said and said.count("\n") == 1
