import os
import sys
from dataclasses import replace

os.environ["HF_HUB_OFFLINE"] = "1"

import pytest
import torch
from accelerate.state import AcceleratorState
from support import HERE, tiny_config

from nanov2t.cli import main as cli
from nanov2t.embedders.base import Embedder
from nanov2t.embedders.registry import load_embedder
from nanov2t.inverter import Inverter
from nanov2t.load import load_inverter
from nanov2t.pretrained import DEFAULT
from nanov2t.t5.inference import Pair
from nanov2t.t5.stages import build_generator


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Nothing is read from the user's cache folder, nor left there."""
    os.environ["NANOV2T_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def fresh_accelerate():
    """accelerate keeps the precision of a process's first run; here one process makes many runs."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def command(monkeypatch, capsys):
    """Run the command line in this process: exit code, standard output, standard error."""

    def run(*args):
        monkeypatch.setattr(sys, "argv", ["nanov2t", *map(str, args)])
        try:
            cli.main()
            code = 0
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return run


@pytest.fixture(scope="session")
def passages() -> list[str]:
    return (HERE / "passages.txt").read_text(encoding="utf-8").splitlines()


@pytest.fixture(scope="session")
def minilm() -> Embedder:
    return load_embedder("minilm", "cpu")


@pytest.fixture(scope="session")
def bundled(minilm) -> Inverter:
    """The inverter that comes with the library."""
    return load_inverter(DEFAULT, embedder=minilm)


@pytest.fixture(scope="session")
def tiny(minilm) -> Inverter:
    """An untrained inverter of one generator that both hypothesizes and corrects."""
    torch.manual_seed(0)
    config = tiny_config(hypothesizer="none")
    config.data.max_tokens = 8  # short texts, for the tests' sake
    generator, tokenizer = build_generator(config, minilm)
    generator = generator.continued(replace(generator.config, hypothesizes=True))
    for block in generator.t5.decoder.block:  # else it would only repeat its last word
        block.layer[0].SelfAttention.o.weight.data *= 10
        block.layer[1].EncDecAttention.o.weight.data *= 30
    generator.eval()
    return Inverter(Pair(minilm, tokenizer, generator, generator))
