from pathlib import Path

import pytest

from nanov2t.core.errors import UserError
from nanov2t.core.parts import check_same_run

FOLDER = Path("out")
SETTINGS = {"rounds": 2, "optim": {"lr": 0.1}, "source": {"name": "a.npy", "fingerprint": "1f"}}


def test_the_same_settings_pass():
    check_same_run(FOLDER, SETTINGS, SETTINGS, "--out")
    check_same_run(FOLDER, SETTINGS | {"older": 1}, SETTINGS, "--out")


def test_what_was_moved_is_the_same():
    moved = {"source": {"name": "moved.npy", "fingerprint": "1f"}}
    check_same_run(FOLDER, SETTINGS, SETTINGS | moved, "--out")


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"rounds": 3}, "rounds (2, not 3)"),
        ({"optim": {"lr": 0.2}}, "optim.lr (0.1, not 0.2)"),
        ({"beam": 8}, "beam (None, not 8)"),
        (
            {"source": {"name": "b.npy", "fingerprint": "2e"}},
            "source (a.npy 1f, not b.npy 2e)",
        ),
    ],
)
def test_the_first_difference_is_named(other, said):
    with pytest.raises(UserError) as error:
        check_same_run(FOLDER, SETTINGS, SETTINGS | other, "--out")
    expected = f"out holds a run with another {said}: choose another --out, or delete it"
    assert str(error.value) == expected
