"""Every shipped recipe takes a few steps at its own precision: on tiny data, the models that would
be downloaded replaced by tiny folders, other settings as shipped."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import (
    Dense,
    Normalize,
    Pooling,
    Transformer,
)
from support import HERE

from nanov2t.cli.main import train
from nanov2t.models.networks import read_network
from nanov2t.t5.generator import Generator

CONFIGS = HERE.parent / "configs"
TINY_T5 = HERE / "fixtures" / "tiny_t5"
RECIPES = sorted(path.stem for path in CONFIGS.glob("*.yaml"))
SHARDED = "gtr_nq32_t5_11b"
FIRST_STAGES = {
    "gtr_nq32_stage2": ("--drafts.hypothesizer", "gtr_nq32_stage1"),
    "minilm_exact_edits": ("--drafts.hypothesizer", "minilm_exact_prefix"),
}
"""Recipes that start from what another has trained: the flag that names it, and the other."""

NETWORKS = {"minilm_exact_prefix": "dev_nats_8", "minilm_exact_edits": "dev_nats_place"}
"""Recipes of networks that look inside the embedder, and a figure of each, in nats."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where the runs go, and `gtr`, an embedder built as GTR is: a T5 encoder, mean pooling, a
    dense layer, unit length."""
    folder = tmp_path_factory.mktemp("recipes")
    encoder = Transformer(str(TINY_T5))
    width = encoder.get_embedding_dimension()
    modules = [encoder, Pooling(width), Dense(width, width), Normalize()]
    SentenceTransformer(modules=modules, device="cpu").save(str(folder / "gtr"))
    return folder


def arguments(name: str, folder: Path) -> list[str]:
    """The command line of a recipe, brought down to a few steps."""
    data, first = str(HERE / "passages.txt"), FIRST_STAGES.get(name)
    args = [str(CONFIGS / f"{name}.yaml"), "--out", str(folder / name)]
    args += ["--data.train", data, "--data.dev", data, "--data.cache", str(folder / "cache")]
    args += ["--eval-limit", "2"]
    if name in NETWORKS:
        args += ["--optim.tokens", "96", "--optim.steps", "3"]
    else:
        args += ["--optim.batch", "4", "--optim.micro-batch", "2"]
        args += ["--optim.epochs", "0.4"]
    if name.startswith("gtr"):
        args += ["--embedder", str(folder / "gtr"), "--model.t5", str(TINY_T5)]
    if name == "gtr_nq32_stage2":
        args += ["--no-compile"]  # stage 1 has shown that it works
    if first:
        args += [first[0], str(folder / first[1] / "model")]
    return args


def run(name: str, folder: Path) -> None:
    """Train a recipe, those that it starts from first; nothing is done twice."""
    if (folder / name / "model").is_dir():
        return
    if name in FIRST_STAGES:
        run(FIRST_STAGES[name][1], folder)
    if name == SHARDED:
        sharded(arguments(name, folder))
    else:
        train(arguments(name, folder))


def sharded(args: list[str]) -> None:
    """Train on two processes."""
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [sys.executable, *launch, "-m", "nanov2t", "train", *args],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.fixture
def traced(monkeypatch):
    """What is compiled is traced and differentiated as ever, and then run without C++, whose
    compiler would take a minute."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_takes_a_few_steps_at_its_own_precision(folder, name, traced):
    run(name, folder)
    lines = (folder / name / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    figures = json.loads(lines[-1])
    assert figures["step"] >= 2
    if name in NETWORKS:
        assert 0 < figures[NETWORKS[name]] < 15
        network = read_network(folder / name / "model")
    else:
        assert -1 <= figures["dev_cosine"] <= 1
        network = Generator.from_pretrained(folder / name / "model")
    assert all(weight.isfinite().all() for weight in network.parameters())
