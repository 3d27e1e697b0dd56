"""Two processes train the weights that one does, sharded or not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file

from nanov2t.train.recipes import load_config

PASSAGES = Path(__file__).parents[1] / "passages.txt"
SHARES = {"plain": 0.0, "joint": 0.5}


def recipe(folder: Path, name: str, shard: bool = False, budget: str = "") -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "out": str(folder / name),
                "precision": "fp32",
                "shard": shard,
                "budget": budget,
                "eval_limit": 2,
                "save_every": 3,
                "data": {
                    "train": str(PASSAGES),
                    "dev": str(PASSAGES),
                    "max_tokens": 8,
                    "cache": str(folder / "cache"),
                },
                "model": {
                    "t5": "scratch",
                    "tokenizer": "embedder",
                    "d_model": 32,
                    "d_ff": 64,
                    "d_kv": 16,
                    "heads": 2,
                    "layers": 1,
                    "pseudo_tokens": 2,
                    "lexical": name == "joint",
                },
                "drafts": {"share": SHARES[name], "rounds": 2, "pool": 8},
                "optim": {"batch": 8, "micro_batch": 2, "epochs": 0.4, "lexical_steps": 3},
            }
        )
    )
    return path


def train_all(folder: Path) -> None:
    from nanov2t.train.inversion import train

    for name in SHARES:
        train(load_config(folder / f"{name}.yaml"))


def on_two(folder: Path, **settings: str) -> None:
    """Train the recipes in `folder` on two processes."""
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node",
        "2",
        __file__,
        folder,
    ]
    done = subprocess.run(
        command,
        env=os.environ | {"ACCELERATE_USE_CPU": "true"} | settings,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    for name in SHARES:
        recipe(folder, name)
    train_all(folder)
    return folder


@pytest.mark.parametrize("shard", [False, True])
def test_two_processes_train_the_weights_of_one(alone, tmp_path, shard):
    for budget in ("0.01s", "") if shard else ("",):  # sharded, it also goes on from a checkpoint
        for name in SHARES:
            recipe(tmp_path, name, shard, budget)
        on_two(tmp_path)
    for name in SHARES:
        ours, theirs = (
            load_file(folder / name / "model" / "model.safetensors") for folder in (tmp_path, alone)
        )
        assert ours.keys() == theirs.keys()
        for key, weight in ours.items():
            assert (weight - theirs[key]).abs().max() < 1e-5, (name, key)


if __name__ == "__main__":
    train_all(Path(sys.argv[1]))
