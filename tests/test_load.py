"""Inverters by name: what does not go together is refused by name."""

import pytest

from nanov2t.core.errors import UserError
from nanov2t.load import load_inverter
from nanov2t.pretrained import DEFAULT
from nanov2t.t5.inference import export_pair


def test_t5s_do_not_mix_with_the_bundled_inverter(tmp_path):
    with pytest.raises(UserError, match=f"{DEFAULT}: --hypothesizer is for T5 correctors"):
        load_inverter(DEFAULT, tmp_path)
    with pytest.raises(UserError, match=f"{DEFAULT}: holds no T5 generator"):
        export_pair(DEFAULT, tmp_path / "out")
    with pytest.raises(UserError, match="search beam: not one of default, evolution"):
        load_inverter(DEFAULT, search="beam")
    assert not (tmp_path / "out").exists()
