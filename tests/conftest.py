import os

os.environ["HF_HUB_OFFLINE"] = "1"

from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState

from nanov2t.embedders.base import Embedder
from nanov2t.embedders.registry import load_embedder
from nanov2t.inverter import Inverter
from nanov2t.train.build import build_generator
from nanov2t.train.config import DataConfig, DraftConfig, ModelConfig, OptimConfig, TrainConfig

HERE = Path(__file__).parent
TINY = {
    "t5": "scratch",
    "tokenizer": "embedder",
    "d_model": 64,
    "d_ff": 128,
    "d_kv": 16,
    "heads": 4,
    "layers": 2,
    "pseudo_tokens": 4,
    "lexical": True,
}


def tiny_config(out: Path = Path("unused"), share: float = 0.5, **settings) -> TrainConfig:
    """A joint model of MiniLM on the passages beside this file, small enough to train within a
    test."""
    return TrainConfig(
        out=out,
        data=DataConfig(
            train=str(HERE / "passages.txt"), dev=str(HERE / "passages.txt"), cache=out / "cache"
        ),
        model=ModelConfig(**TINY),
        drafts=DraftConfig(share=share, pool=16, rounds=2),
        optim=OptimConfig(
            batch=8, micro_batch=4, epochs=0.9 if share == 0.5 else 2.2, lexical_steps=2
        ),
        eval_limit=4,
        precision="fp32",
        **settings,
    )


@pytest.fixture(autouse=True)
def fresh_accelerate():
    """accelerate keeps the precision of a process's first run; here one process makes many runs."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="session")
def passages() -> list[str]:
    return (HERE / "passages.txt").read_text(encoding="utf-8").splitlines()


@pytest.fixture(scope="session")
def minilm() -> Embedder:
    return load_embedder("minilm", "cpu")


@pytest.fixture(scope="session")
def tiny(minilm) -> Inverter:
    """An untrained joint inverter whose lexical head says something, so that its beams differ."""
    torch.manual_seed(0)
    config = tiny_config()
    config.data.max_tokens = 8  # short texts, for the tests' sake
    generator, tokenizer = build_generator(config, minilm)
    generator.lexical.linear.weight.data.normal_()
    generator.lexical.log_frequency.normal_()
    generator.eval()
    return Inverter(minilm, tokenizer, generator, generator)
