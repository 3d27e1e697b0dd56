"""Examples per second of short trainings, one after another.

python benchmarks/speed.py texts.txt configs/minilm_exact_prefix.yaml

Times are processor seconds of one thread, so other work on the machine matters little. The first
step is left out.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import torch
import tyro
from accelerate.state import AcceleratorState

from nanov2t.pretrained import DEFAULT
from nanov2t.recipes import Recipe, load_config, train
from nanov2t.train.config import EditRecipe, T5Recipe


@dataclass
class Speed:
    """Train by each of the recipes for a while."""

    texts: tyro.conf.Positional[str]
    """Training text; a small one is enough."""
    recipes: tyro.conf.Positional[tuple[Path, ...]]
    """A recipe with `init` goes on from the run before it."""
    seconds: int = 40
    """Training time of each."""

    def run(self, folder: Path) -> None:
        before = ""
        for path in self.recipes:
            AcceleratorState._reset_state(reset_partial_state=True)
            config = self._short(load_config(path), folder / path.stem, before)
            with patch("time.monotonic", time.process_time), patch("nanov2t.train.log.EVERY", 1):
                before = str(train(config))
            lines = (config.out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
            taken = [record for record in map(json.loads, lines) if "loss" in record]
            first, last = taken[0], taken[-1]
            if first is last:
                print(f"{path}: one step in {self.seconds} s", flush=True)
                continue
            examples = last["examples"] - first["examples"]
            seconds = last["seconds"] - first["seconds"]
            print(f"{path}: {examples / seconds:.1f} a second, n = {examples:,}", flush=True)

    def _short(self, config: Recipe, out: Path, before: str) -> Recipe:
        """The recipe for a short run."""
        config.out, config.budget, config.eval_limit = out, f"{self.seconds}s", 2
        config.data.train = config.data.dev = self.texts
        config.data.cache = out.parent / "cache"
        if isinstance(config, T5Recipe):
            config.init = before if config.init else ""
        elif isinstance(config, EditRecipe):
            config.drafts.hypothesizer = DEFAULT
        return config


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        tyro.cli(Speed).run(Path(name))
