"""What each defence does to vectors, and what is said of those that there are not."""

import sys

import numpy as np
import pytest

from nanov2t.core.errors import UserError
from nanov2t.core.vectors import cosine
from nanov2t.defences import DEFENCES, Setting, make_defence
from nanov2t.targets import prepare_targets

SPECS = [
    "noise:0.01",
    "int8",
    "bits",
    "pq:48",
    "truncate:256",
    "mask:0.25",
    "scale:-2.6",
    "rotation",
]


@pytest.fixture(scope="module")
def vectors(minilm, passages):
    return minilm.encode([text[:60] for text in passages])


@pytest.fixture(scope="module")
def setting(vectors):
    return Setting(384, 0, vectors)


def halved(vectors):
    return vectors / 2


def flattened(vectors):
    return vectors[:, :3]


def nothing(vectors):
    return 0 * vectors


@pytest.mark.parametrize("spec", SPECS)
def test_a_row_is_defended_as_it_is_alone_and_as_its_seed_says(spec, vectors, setting):
    defence = make_defence(spec, setting)
    together = defence(vectors)
    assert together.shape == vectors.shape and together.dtype == np.float32
    assert np.isfinite(together).all() and not np.array_equal(together, vectors)
    np.testing.assert_allclose(defence(vectors[3:4]), together[3:4], atol=1e-5)
    assert np.array_equal(make_defence(spec, setting)(vectors), together)
    other = make_defence(spec, Setting(384, 1, vectors))(vectors)
    seeded = spec.partition(":")[0] in ("noise", "mask", "rotation", "pq")
    assert np.array_equal(other, together) != seeded


def test_every_defence_is_tested():
    assert {spec.partition(":")[0] for spec in SPECS} == set(DEFENCES)


def test_noise_is_the_same_whatever_the_last_bits_are(vectors, setting):
    noise = make_defence("noise:0.1", setting)
    nearly = vectors + np.float32(1e-8)
    assert not np.array_equal(nearly, vectors)
    apart = np.abs(noise(nearly) - noise(vectors)).max(1)
    assert (apart < 1e-6).mean() > 0.9, "a number at the edge of a step may fall on either side"
    assert np.abs(noise(vectors) - vectors - (noise(vectors[::-1]) - vectors[::-1])).max() > 0.1


def test_what_is_lost_is_what_they_say(vectors, setting):
    def defended(spec):
        return make_defence(spec, setting)(vectors)

    assert (defended("noise:0.01") - vectors).std() == pytest.approx(0.01, rel=0.05)
    assert cosine(defended("int8"), vectors).min() > 0.9995
    assert set(np.unique(defended("bits"))) == {-1, 1}
    assert (defended("truncate:256")[:, 256:] == 0).all()
    assert np.array_equal(defended("truncate:256")[:, :256], vectors[:, :256])
    assert ((defended("mask:0.25") == 0).sum(1) == 96).all()
    np.testing.assert_allclose(defended("scale:-2.6"), -2.6 * vectors, rtol=1e-6)
    rotated = defended("rotation")
    np.testing.assert_allclose(rotated @ rotated.T, vectors @ vectors.T, atol=1e-5)
    assert np.abs(cosine(rotated, vectors)).mean() < 0.1
    assert 0.5 < cosine(defended("pq:48"), vectors).mean() < 0.9999


def test_what_one_who_knows_the_defence_can_repeat(vectors, setting):
    assert make_defence("rotation", setting).known is None
    noise = make_defence("noise:0.01", setting)
    assert not noise.repeatable and not np.array_equal(noise.known(vectors), noise(vectors))
    sixteen = noise.reads(16, False)(vectors)
    assert sixteen.dtype == np.float32 and sixteen.shape == vectors.shape
    assert (sixteen - vectors).std() == pytest.approx(0.01 / 4, rel=0.05)
    mask = make_defence("mask:0.25", setting)
    assert mask.repeatable and np.array_equal(mask.known(vectors), mask(vectors))


def test_a_function_of_ones_own(vectors, setting):
    own = make_defence(f"{__name__}:halved", setting)
    np.testing.assert_allclose(own(vectors), vectors / 2)
    with pytest.raises(UserError, match="makes"):
        make_defence(f"{__name__}:flattened", setting)(vectors)
    with pytest.raises(UserError, match="vector 0 is zero"):
        make_defence(f"{__name__}:nothing", setting)(vectors)


def test_a_function_in_the_current_folder(vectors, setting, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_defence.py").write_text("def thrice(v):\n    return 3 * v\n")
    (tmp_path / "broken_defence.py").write_text("def thrice(v)\n")
    own = make_defence("own_defence:thrice", setting)
    np.testing.assert_allclose(own(vectors), 3 * vectors)
    assert own.source == (tmp_path / "own_defence.py").read_bytes()
    with pytest.raises(UserError, match="broken_defence:thrice: expected ':'"):
        make_defence("broken_defence:thrice", setting)


def test_it_stands_where_texts_become_targets(minilm, vectors, setting):
    defence = make_defence("truncate:256", setting)
    targets = prepare_targets(vectors, minilm.info, defence)
    cosines = cosine(np.stack([target.vector for target in targets]), defence(vectors))
    np.testing.assert_allclose(cosines, 1, atol=1e-6)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("sponge", "neither one of noise:X, int8"),
        ("int8:3", "takes no parameter"),
        ("noise", "needs the standard deviation"),
        ("noise:-1", "is not the standard deviation"),
        ("noise:nan", "is not the standard deviation"),
        ("pq:7", "divides the dimension"),
        ("truncate:385", "a whole number of dimensions"),
        ("mask:1", "the share of dimensions"),
        ("scale:0", "a factor other than 0"),
        ("nowhere_at_all:f", "No module named"),
        (f"{__name__}:missing", "has no attribute"),
        (f"{__name__}:SPECS", "is not a function"),
        (":f", "Empty module name"),
    ],
)
def test_what_will_not_do_is_one_line(spec, said, setting):
    with pytest.raises(UserError, match=said) as error:
        make_defence(spec, setting)
    assert "\n" not in str(error.value)
