"""Inverters by name: what does not go together is refused by name."""

import pytest

from nanov2t.core.errors import UserError
from nanov2t.load import convert, load_inverter
from nanov2t.pretrained import DEFAULT


def test_generators_do_not_mix_with_an_inverter_that_looks_inside_its_embedder(tmp_path):
    with pytest.raises(UserError, match=f"{DEFAULT}: looks .* takes no hypothesizer beside it"):
        load_inverter(DEFAULT, tmp_path)
    with pytest.raises(UserError, match=f"{DEFAULT}: looks .* holds no generator"):
        convert(DEFAULT, tmp_path / "out")
    assert not (tmp_path / "out").exists()
