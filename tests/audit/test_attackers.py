"""What attackers who know a defence, or pairs, make of defended vectors."""

import numpy as np
import pytest

from nanov2t.audit.attackers import attackers_of
from nanov2t.core.vectors import cosine
from nanov2t.defences import Setting, make_defence

DIM = 32
DRAWN = np.random.default_rng(0)
MIXED = (DRAWN.normal(size=(400, DIM)) * 0.8 ** np.arange(DIM)) @ DRAWN.normal(size=(DIM, DIM))
UNIT = (MIXED / np.linalg.norm(MIXED, axis=1, keepdims=True)).astype(np.float32)
PUBLIC, SECRET = UNIT[:300], UNIT[300:]


def restored(spec, *pairs):
    """How near each attacker's vectors are to the undefended ones, by the attacker's name."""
    defence = make_defence(spec, Setting(DIM, 0, PUBLIC))
    return {
        attacker.name: float(cosine(attacker.restore(attacker.hold(SECRET)), SECRET).mean())
        for attacker in attackers_of(defence, PUBLIC, pairs)
    }


def test_a_rotation_is_undone_by_as_many_pairs_as_there_are_dimensions():
    found = restored("rotation", 4, DIM)
    assert set(found) == {"unchanged", "4 pairs", f"{DIM} pairs"}, "its key is not known"
    assert abs(found["unchanged"]) < 0.5 and found["4 pairs"] < 0.99
    assert found[f"{DIM} pairs"] == pytest.approx(1, abs=1e-5)


def test_one_who_knows_the_scale_undoes_it():
    found = restored("scale:-2.6")
    assert found["unchanged"] < -0.99 and found["informed"] == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("spec", ["noise:0.1", "mask:0.25", "bits", "truncate:16"])
def test_one_who_knows_what_was_lost_guesses_it(spec):
    found = restored(spec)
    assert found["informed"] > found["unchanged"] + 0.02


def test_noise_is_averaged_away_by_reading_again():
    found = restored("noise:0.1")
    assert found["informed"] < found["informed, 4 reads"] < found["informed, 16 reads"]


def test_only_what_can_be_repeated_steers_the_search():
    bits, noise = (
        attackers_of(make_defence(spec, Setting(DIM, 0, PUBLIC)), PUBLIC, ())[1]
        for spec in ("bits", "noise:0.1")
    )
    assert np.array_equal(bits.repeats(SECRET), bits.hold(SECRET)) and noise.repeats is None
