"""Whole checkpoints of a training run, in safetensors: weights, optimizer, random state, drafts,
position."""

from __future__ import annotations

import dataclasses
import json
import shutil

import torch
import yaml
from accelerate import Accelerator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from nanov2t.core.errors import UserError
from nanov2t.models.generator import Generator
from nanov2t.train.config import TrainConfig
from nanov2t.train.shard import gather, scatter

MAY_CHANGE = ("out", "budget", "eval_every", "eval_limit", "save_every", "tracker", "compile")
"""Settings that a resumed run may change: they do not decide its weights."""


class State:
    """The checkpoints of a run folder; the newest is kept.

    Raises:
        UserError: the folder holds a run with other settings.
    """

    def __init__(self, config: TrainConfig, accelerator: Accelerator):
        self.config, self.accelerator = config, accelerator
        settings = {key: value for key, value in _plain(config).items() if key not in MAY_CHANGE}
        path = config.out / "config.yaml"
        if path.exists():
            before = yaml.safe_load(path.read_text(encoding="utf-8"))
            if changed := [
                key
                for key in _leaves(settings)
                if _leaves(settings)[key] != _leaves(before).get(key)
            ]:
                raise UserError(
                    f"{config.out} holds a run with another {changed[0]} "
                    f"({_leaves(before).get(changed[0])}"
                    f", not {_leaves(settings)[changed[0]]}): choose another `out`, or delete it"
                )
        elif accelerator.is_main_process:
            try:
                config.out.mkdir(parents=True, exist_ok=True)
                path.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
            except OSError as error:
                raise UserError(f"{config.out}: {error.strerror}") from None
        accelerator.wait_for_everyone()

    @property
    def _newest(self):
        return max(self.config.out.glob("checkpoint-*"), default=None)

    @property
    def exists(self) -> bool:
        return self._newest is not None

    def save(self, step: int, elapsed: float, generator: Generator, optimizer, examples) -> None:
        """Write a checkpoint aside, then let it take the place of the one before."""
        out, accelerator = self.config.out, self.accelerator
        aside, folder = out / f".checkpoint-{step:08d}", out / f"checkpoint-{step:08d}"
        if folder.exists():
            return
        weights, moments = gather(generator, optimizer.optimizer)
        if accelerator.is_main_process:
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir()
            save_file(weights, aside / "model.safetensors")
            save_file(moments, aside / "optimizer.safetensors")
            (aside / "position.json").write_text(json.dumps({"step": step, "elapsed": elapsed}))
        accelerator.wait_for_everyone()
        own = {f"pool.{key}": value for key, value in examples.pool.items()} | {
            "random.cpu": torch.get_rng_state()
        }
        if accelerator.device.type == "cuda":
            own["random.cuda"] = torch.cuda.get_rng_state()
        save_file(own, aside / f"process-{accelerator.process_index}.safetensors")
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            aside.rename(folder)
            for old in out.glob("checkpoint-*"):
                if old != folder:
                    shutil.rmtree(old)
        accelerator.wait_for_everyone()  # or another process might find this step unsaved

    def load(self, generator: Generator, optimizer, examples) -> tuple[int, float]:
        """Continue from the newest checkpoint, if there is one; returns its step and the seconds
        trained so far.

        Raises:
            UserError: the checkpoint is damaged, or of another number of processes.
        """
        folder = self._newest
        if folder is None:
            return 0, 0.0
        try:
            position = json.loads((folder / "position.json").read_text())
            scatter(
                generator,
                optimizer.optimizer,
                load_file(folder / "model.safetensors"),
                load_file(folder / "optimizer.safetensors"),
            )
            own = load_file(folder / f"process-{self.accelerator.process_index}.safetensors")
        except (OSError, SafetensorError, ValueError, KeyError) as error:
            raise UserError(f"{folder}: damaged checkpoint: {error}") from None
        examples.pool = {
            key.removeprefix("pool."): value
            for key, value in own.items()
            if key.startswith("pool.")
        }
        torch.set_rng_state(own["random.cpu"])
        if "random.cuda" in own:
            torch.cuda.set_rng_state(own["random.cuda"])
        return position["step"], position["elapsed"]


def _plain(config: TrainConfig) -> dict:
    return json.loads(json.dumps(dataclasses.asdict(config), default=str))


def _leaves(values: dict, prefix: str = "") -> dict:
    leaves: dict = {}
    for key, value in values.items():
        leaves |= (
            _leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        )
    return leaves
