"""The training loop, of any network on any task.

A checkpoint holds all that the next steps depend on, so a run that was killed and started again
ends with the weights of one that was not.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, set_seed
from torch import Tensor, nn

from nanov2t.core.errors import UserError
from nanov2t.core.files import make_folder
from nanov2t.fast import search_dtype
from nanov2t.train.checkpoint import Checkpoints, check_folder
from nanov2t.train.config import RunConfig, StepConfig, seconds
from nanov2t.train.log import RunLog
from nanov2t.train.shard import allow_cpu, copier, sharding

M = TypeVar("M", bound=nn.Module)
Trained = TypeVar("Trained", bound=nn.Module, contravariant=True)


class Task(Protocol[Trained]):
    """What a run teaches.

    A step must depend on the seed, its number and :meth:`state` alone, and see the same examples
    whatever the number of processes.

    Attributes:
        steps: of the whole run.
        parts: micro-batches of a step in this process.
    """

    steps: int
    parts: int

    def seen(self, step: int) -> int:
        """How many examples are in the steps before `step`, over all processes."""

    def step(self, model: nn.Module, step: int, part: int) -> Tensor:
        """The loss of a micro-batch, float []. Those of all parts of all processes sum up to the
        loss of the step."""

    def state(self) -> dict[str, Tensor]:
        """What must outlast a kill besides the weights; no name may begin with `random.`."""
        return {}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Continue from a :meth:`state`."""
        return

    def dev_nats(self, model: Trained) -> Iterator[tuple[str, float, float]]:
        """Figures of batches of dev texts: a name, a sum and what it is to be divided by. One is
        the `loss`."""

    def measure(self, model: Trained) -> dict[str, float]:
        """Further dev figures."""
        return {}

    def save(self, model: Trained, folder: Path) -> None: ...


def start(config: RunConfig) -> Accelerator:
    """The processes and devices of a run, and its seed set: call it before anything is built.

    Raises:
        UserError: the tracker is not installed, or the run folder holds another run or cannot be
            written.
    """
    if config.tracker and not find_spec(config.tracker):
        raise UserError(f"tracker {config.tracker} is not installed: pip install {config.tracker}")
    check_folder(config)
    plugin = sharding() if config.shard else None
    several = os.environ.get("WORLD_SIZE", "1") != "1"
    gpu = torch.cuda.is_available()
    fast = search_dtype(torch.device("cuda" if gpu else "cpu")) == torch.bfloat16
    accelerator = Accelerator(
        # Without it, each of several processes without GPUs would take itself for the only one.
        cpu=several and not gpu,
        mixed_precision="bf16" if config.precision == "bf16" and fast else "no",
        log_with=config.tracker or None,
        project_dir=config.out,
        fsdp_plugin=plugin,
        kwargs_handlers=[
            # Buffers are tables that no step changes.
            DistributedDataParallelKwargs(broadcast_buffers=False)
        ],
    )
    allow_cpu(accelerator, plugin)
    set_seed(config.seed)
    return accelerator


def run(
    task: Task[M],
    model: M,
    config: RunConfig,
    accelerator: Accelerator,
    pace: Callable[[str], float] = lambda name: 1.0,
) -> Path:
    """Train `model`, or resume the run in ``config.out``; returns the folder of the model with the
    lowest dev loss. Beside it, `last` is the model of the last step.

    Args:
        pace: the factor on the learning rate of a weight, by its name.

    Raises:
        UserError: the run folder holds a damaged checkpoint.
    """
    make_folder(config.out)
    checkpoints = Checkpoints(config, accelerator)
    model.to(accelerator.device)
    optim, current = config.optim, copier(model)
    wrapped, optimizer = accelerator.prepare(model, adamw(model, optim, pace))
    if config.compile:
        wrapped = torch.compile(wrapped)
    step, elapsed = checkpoints.load(model, optimizer, task)
    log = RunLog(config, accelerator, step, task.steps, task.seen)
    budget, began = seconds(config.budget), time.monotonic() - elapsed

    while step < task.steps:
        elapsed = _agreed(time.monotonic() - began, accelerator)
        if elapsed >= budget:
            break
        done = step / task.steps
        lr = optim.lr * rate(optim, done, max(done, elapsed / budget))
        for group in optimizer.param_groups:
            group["lr"] = lr * group["pace"]
        loss = add_gradients(wrapped, task, step, accelerator)
        norm = accelerator.clip_grad_norm_(wrapped.parameters(), optim.clip)
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        log.step(step, loss, norm, lr, time.monotonic() - began)
        if step % config.eval_every == 0:
            keep_best(task, current(), step, log, config.out / "model")
        if step % config.save_every == 0:
            checkpoints.save(step, time.monotonic() - began, model, optimizer, task)

    checkpoints.save(step, time.monotonic() - began, model, optimizer, task)
    finished = current()
    if step % config.eval_every:
        keep_best(task, finished, step, log, config.out / "model")
    log.close()
    if accelerator.is_main_process:
        task.save(finished, config.out / "last")
    accelerator.wait_for_everyone()
    return config.out / "model"


def keep_best(task: Task[M], model: M, step: int, log: RunLog, folder: Path) -> None:
    """Take the dev figures of a model, and save it if it is the best so far."""
    if log.dev(step, evaluate(task, model)):
        task.save(model, folder)


@torch.inference_mode()
def evaluate(task: Task[M], model: M) -> dict[str, float]:
    """The dev figures of a model in training."""
    sums, counts = defaultdict[str, float](float), defaultdict[str, float](float)
    for name, total, count in task.dev_nats(model):
        sums[name] += total
        counts[name] += count
    return {name: sums[name] / max(1, counts[name]) for name in sums} | task.measure(model)


def adamw(model: nn.Module, optim: StepConfig, pace: Callable[[str], float]) -> torch.optim.AdamW:
    """The optimizer of a model, one group of weights for each pace."""
    groups = defaultdict(list)
    for name, weight in model.named_parameters():
        groups[pace(name)].append(weight)
    return torch.optim.AdamW(
        [{"params": weights, "pace": factor} for factor, weights in groups.items()],
        lr=optim.lr,
        betas=(0.9, optim.beta2),
        eps=optim.eps,
        weight_decay=optim.weight_decay,
        fused=True,
    )


def add_gradients(model: nn.Module, task: Task[M], step: int, accelerator: Accelerator) -> Tensor:
    """Add the gradients of a step to those of the model; returns this process's part of the loss,
    float []."""
    model.train()
    loss = torch.zeros((), device=accelerator.device)
    for part in range(task.parts):
        last = part + 1 == task.parts
        with nullcontext() if last else accelerator.no_sync(model):
            share = task.step(model, step, part)
            # Gradients are averaged over the processes, but the losses are to be summed.
            accelerator.backward(share * accelerator.num_processes)
        loss += share.detach()
    return loss


def rate(optim: StepConfig, done: float, progress: float) -> float:
    """The learning rate's factor after `done` of the steps and `progress` of the run, by steps or
    clock."""
    if done < optim.warmup:
        return done / optim.warmup
    if optim.decay == "constant":
        return 1.0
    return max(0.0, (1 - progress) / (1 - optim.warmup))


def _agreed(value: float, accelerator: Accelerator) -> float:
    if accelerator.num_processes == 1:
        return value
    tensor = torch.tensor(value if accelerator.is_main_process else 0.0, device=accelerator.device)
    return float(accelerator.reduce(tensor, "sum"))
