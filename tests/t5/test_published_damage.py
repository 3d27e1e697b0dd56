"""Published checkpoints that are damaged, incomplete, or hold more than weights."""

import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from support import FIXTURES, logits

from nanov2t.core.errors import UserError
from nanov2t.t5.checkpoints import load_tokenizer
from nanov2t.t5.generator import Generator


def test_the_tokenizer_of_the_t5_beside_serves_a_checkpoint_without_one(tmp_path):
    shutil.copytree(FIXTURES / "tiny_t5", tmp_path / "tiny_t5")
    shutil.copytree(
        FIXTURES / "vec2text_inverter", tmp_path / "bare", ignore=shutil.ignore_patterns("*token*")
    )
    assert (
        load_tokenizer(tmp_path / "bare").get_vocab()
        == load_tokenizer(tmp_path / "tiny_t5").get_vocab()
    )
    shutil.rmtree(tmp_path / "tiny_t5")
    with pytest.raises(UserError, match="no tokenizer"):
        load_tokenizer(tmp_path / "bare")


class Evil:
    def __init__(self, path: Path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_a_pickle_is_read_only_if_it_holds_nothing_but_weights(tmp_path):
    folder = "vec2text_corrector"
    shutil.copytree(
        FIXTURES / folder, tmp_path / folder, ignore=shutil.ignore_patterns("*.safetensors")
    )
    with pytest.raises(UserError, match=r"model\.safetensors is missing"):
        Generator.from_pretrained(tmp_path / folder)
    torch.save(
        load_file(FIXTURES / folder / "model.safetensors"), tmp_path / folder / "pytorch_model.bin"
    )
    assert torch.equal(
        logits(Generator.from_pretrained(tmp_path / folder), folder),
        logits(Generator.from_pretrained(FIXTURES / folder), folder),
    )
    (tmp_path / folder / "pytorch_model.bin").write_bytes(
        pickle.dumps({"x": Evil(tmp_path / "ran")}, protocol=2)
    )
    with pytest.raises(UserError, match=r"pytorch_model\.bin"):
        Generator.from_pretrained(tmp_path / folder)
    torch.save({"x": Evil(tmp_path / "ran")}, tmp_path / folder / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"pytorch_model\.bin: holds more than weights.*not read"):
        Generator.from_pretrained(tmp_path / folder)
    assert not (tmp_path / "ran").exists()


def test_damage_is_named(tmp_path):
    shutil.copytree(FIXTURES / "vec2text_inverter", tmp_path / "x")
    (tmp_path / "x" / "model.safetensors").write_bytes(b"half")
    with pytest.raises(UserError, match=r"model\.safetensors: damaged"):
        Generator.from_pretrained(tmp_path / "x")
    weights = load_file(FIXTURES / "vec2text_inverter" / "model.safetensors")
    save_file(
        {k: v for k, v in weights.items() if "transform.0" not in k},
        tmp_path / "x" / "model.safetensors",
    )
    with pytest.raises(UserError, match=r"target_projector\.0\.weight' is missing"):
        Generator.from_pretrained(tmp_path / "x")
