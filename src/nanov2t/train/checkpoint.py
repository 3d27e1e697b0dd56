"""Checkpoints of a training run, in safetensors: weights, optimizer, random states, the task's
state, position."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
import yaml
from accelerate import Accelerator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from nanov2t.core.errors import UserError, first_line
from nanov2t.core.files import check_writable, write_whole
from nanov2t.core.manifest import check_same_run
from nanov2t.train.config import RunConfig, settings_of
from nanov2t.train.shard import gather, scatter

MAY_CHANGE = ("out", "budget", "eval_every", "save_every", "compile", "tracker", "name", "notes")
"""Settings that a resumed run may change. The number of dev texts is not one: losses of different
texts cannot be compared."""
SETTINGS = "config.yaml"
RANDOM = "random."
"""Prefix of random states in a process's file."""


class Checkpoints:
    """The newest checkpoint of a run folder, and the run's settings in `config.yaml`."""

    def __init__(self, config: RunConfig, accelerator: Accelerator):
        self.config, self.out, self.accelerator = config, config.out, accelerator

    @property
    def exist(self) -> bool:
        return self._newest is not None

    def save(self, step: int, elapsed: float, model: nn.Module, optimizer: Any, task: Any) -> None:
        """Replace the checkpoint, after `elapsed` seconds of training; `optimizer` is as accelerate
        wraps it."""
        accelerator, folder = self.accelerator, self.out / f"checkpoint-{step:08d}"
        aside = folder.with_name(f".{folder.name}")
        if folder.exists():
            return
        weights, moments = gather(model, optimizer.optimizer)
        if accelerator.is_main_process:
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir()
            save_file(weights, aside / "model.safetensors")
            save_file(moments, aside / "optimizer.safetensors")
            (aside / "position.json").write_text(json.dumps({"step": step, "elapsed": elapsed}))
        accelerator.wait_for_everyone()
        own = task.state() | {f"{RANDOM}cpu": torch.get_rng_state()}
        if accelerator.device.type == "cuda":
            own[f"{RANDOM}cuda"] = torch.cuda.get_rng_state()
        save_file(own, aside / self._own_file)
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            settings = yaml.safe_dump(_kept(self.config), sort_keys=False)
            write_whole(self.out / SETTINGS, settings.encode())
            aside.rename(folder)
            for old in self.out.glob("checkpoint-*"):
                if old != folder:
                    shutil.rmtree(old)
        accelerator.wait_for_everyone()  # or another process might find this step unsaved

    def load(self, model: nn.Module, optimizer: Any, task: Any) -> tuple[int, float]:
        """Continue from the checkpoint, if there is one; returns its step and the seconds trained.

        Raises:
            UserError: the checkpoint is damaged, or of another number of processes.
        """
        folder = self._newest
        if folder is None:
            return 0, 0.0
        try:
            position = json.loads((folder / "position.json").read_text())
            weights = load_file(folder / "model.safetensors")
            scatter(
                model, optimizer.optimizer, weights, load_file(folder / "optimizer.safetensors")
            )
            own = load_file(folder / self._own_file)
        except (OSError, SafetensorError, ValueError, KeyError) as error:
            raise UserError(f"{folder}: damaged checkpoint: {first_line(error)}") from None
        task.load_state({key: x for key, x in own.items() if not key.startswith(RANDOM)})
        torch.set_rng_state(own[f"{RANDOM}cpu"])
        if f"{RANDOM}cuda" in own:
            torch.cuda.set_rng_state(own[f"{RANDOM}cuda"])
        return position["step"], position["elapsed"]

    @property
    def _newest(self) -> Path | None:
        return max(self.out.glob("checkpoint-*"), default=None)

    @property
    def _own_file(self) -> str:
        return f"process-{self.accelerator.process_index}.safetensors"


def check_folder(config: RunConfig) -> None:
    """Raise a UserError if a run folder holds a run with other settings or cannot be written."""
    check_writable(config.out)
    path = config.out / SETTINGS
    try:
        if path.exists():
            before = yaml.safe_load(path.read_text(encoding="utf-8"))
            check_same_run(config.out, before, _kept(config), "--out")
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, ValueError, AttributeError) as error:
        raise UserError(f"{path}: damaged: {first_line(error)}") from None


def _kept(config: RunConfig) -> dict[str, Any]:
    return {key: x for key, x in settings_of(config).items() if key not in MAY_CHANGE}
