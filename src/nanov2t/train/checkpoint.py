"""Checkpoints of a run: weights, optimizer, random states and the task's state, in safetensors."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from typing import Any, TypeVar

import torch
import yaml
from accelerate import Accelerator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from nanov2t.core.errors import UserError, first_line
from nanov2t.core.files import check_writable, write_whole
from nanov2t.core.parts import check_same_run
from nanov2t.train.config import RunConfig, settings_of

MAY_CHANGE = ("out", "budget", "eval_every", "save_every", "compile", "tracker", "name", "notes")
"""Settings that a resumed run may change. Not `eval_limit`: losses of other texts cannot be
compared."""
SETTINGS = "config.yaml"
RANDOM = "random."  # begins the names of random states
M = TypeVar("M", bound=nn.Module)


class Checkpoints:
    """The newest checkpoint of a run folder, and the settings of the run."""

    def __init__(self, config: RunConfig, accelerator: Accelerator):
        self.config, self.out, self.accelerator = config, config.out, accelerator
        self.own = f"-{accelerator.process_index}"  # ends the names of a process's own files
        share = self.own if config.shard else ""
        self.names = f"model{share}", f"optimizer{share}"

    def save(self, step: int, elapsed: float, model: nn.Module, optimizer: Any, task: Any) -> None:
        """Replace the checkpoint, after `elapsed` seconds of training."""
        accelerator, folder = self.accelerator, self.out / f"checkpoint-{step:08d}"
        aside, first = self.out / f".{folder.name}", accelerator.is_main_process
        if folder.exists():
            return
        if first:
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir()
            (aside / "position.json").write_text(json.dumps({"step": step, "elapsed": elapsed}))
        accelerator.wait_for_everyone()
        if first or self.config.shard:
            for name, tensors in zip(self.names, _tensors(model, optimizer), strict=True):
                save_file(tensors, aside / f"{name}.safetensors")
        own = task.state() | {f"{RANDOM}cpu": torch.get_rng_state()}
        if accelerator.device.type == "cuda":
            own[f"{RANDOM}cuda"] = torch.cuda.get_rng_state()
        save_file(own, aside / f"process{self.own}.safetensors")
        accelerator.wait_for_everyone()
        if first:
            settings = yaml.safe_dump(_kept(self.config), sort_keys=False)
            write_whole(self.out / SETTINGS, settings.encode())
            aside.rename(folder)
            for old in {*self.out.glob("checkpoint-*")} - {folder}:
                shutil.rmtree(old)
        accelerator.wait_for_everyone()  # else another process might find this step unsaved

    def load(self, model: nn.Module, optimizer: Any, task: Any) -> tuple[int, float]:
        """Continue from the checkpoint, if there is one. Returns its step and the seconds trained.
        Raises a UserError if it is damaged, or of another number of processes."""
        folder = max(self.out.glob("checkpoint-*"), default=None)
        if folder is None:
            return 0, 0.0
        try:
            position = json.loads((folder / "position.json").read_text())
            names = (*self.names, f"process{self.own}")
            weights, moments, own = (load_file(folder / f"{name}.safetensors") for name in names)
            _restore(model, optimizer, weights, moments)
        except (OSError, SafetensorError, ValueError, KeyError, RuntimeError) as error:
            raise UserError(f"{folder}: damaged checkpoint: {first_line(error)}") from None
        task.load_state({key: x for key, x in own.items() if not key.startswith(RANDOM)})
        torch.set_rng_state(own[f"{RANDOM}cpu"])
        if f"{RANDOM}cuda" in own:
            torch.cuda.set_rng_state(own[f"{RANDOM}cuda"])
        return position["step"], position["elapsed"]


def check_folder(config: RunConfig) -> None:
    """Raise a UserError if a run folder holds a run with other settings or cannot be written."""
    check_writable(config.out)
    path = config.out / SETTINGS
    try:
        if path.exists():
            before = yaml.safe_load(path.read_text(encoding="utf-8"))
            check_same_run(config.out, before, _kept(config), "--out")
    except (OSError, yaml.YAMLError, ValueError, AttributeError) as error:
        raise UserError(f"{path}: damaged: {first_line(error)}") from None


def _kept(config: RunConfig) -> dict[str, Any]:
    return {key: x for key, x in settings_of(config).items() if key not in MAY_CHANGE}


def copier(model: M) -> Callable[[], M]:
    """A function that returns the model in training, ready for inference: without the autocast that
    accelerate will put into its forward. It shares the weights of the model in training; for a
    sharded model they are copies, and every process must call the function."""
    tables = {id(buffer): buffer for buffer in model.buffers()}
    on_no_device = {id(weight): nn.Parameter(weight.to("meta")) for weight in model.parameters()}
    # deepcopy takes these for copies that it has made, so shared tensors stay shared.
    blank = copy.deepcopy(model, tables | on_no_device)

    def current() -> M:
        filled: dict[int, Tensor] = {}
        for empty, weight in zip(blank.parameters(), model.parameters(), strict=True):
            whole = weight.full_tensor() if isinstance(weight, DTensor) else weight
            filled[id(empty)] = nn.Parameter(whole.detach(), requires_grad=False)
        return copy.deepcopy(blank, tables | filled).eval()

    return current


def _tensors(model: nn.Module, optimizer: Any) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """This process's weights and optimizer states, by the names of the parameters."""
    weights = dict(model.named_parameters())
    states = {name: optimizer.state[weight].items() for name, weight in weights.items()}
    moments = {f"{name}.{key}": _local(x) for name, state in states.items() for key, x in state}
    return {name: _local(weight) for name, weight in weights.items()}, moments


@torch.no_grad()
def _restore(model: nn.Module, optimizer: Any, weights: Any, moments: Any) -> None:
    parameters = dict(model.named_parameters())
    for name, weight in parameters.items():
        _local(weight).copy_(weights[name])
    for name, moment in moments.items():
        owner, _, key = name.rpartition(".")
        weight, state = parameters[owner], optimizer.state[parameters[owner]]
        state[key] = torch.zeros_like(moment if key == "step" else weight, device=weight.device)
        _local(state[key]).copy_(moment)


def _local(x: Tensor) -> Tensor:
    return (x.to_local() if isinstance(x, DTensor) else x).detach()
