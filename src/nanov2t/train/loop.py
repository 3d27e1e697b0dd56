"""The training loop, for any network and any task. A run that was killed and started again ends
with the weights of one that was not."""

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
from accelerate import Accelerator, DistributedType, FullyShardedDataParallelPlugin
from accelerate.utils import DistributedDataParallelKwargs, broadcast, set_seed
from torch import Tensor, nn

from nanov2t.core.errors import UserError
from nanov2t.core.files import make_folder
from nanov2t.fast import search_dtype
from nanov2t.train.checkpoint import Checkpoints, check_folder, copier
from nanov2t.train.config import RunConfig, StepConfig, seconds
from nanov2t.train.log import RunLog

M = TypeVar("M", bound=nn.Module)
Trained = TypeVar("Trained", bound=nn.Module, contravariant=True)


class Task(Protocol[Trained]):
    """What a network learns, in `steps` steps of `parts` micro-batches in each process. A step
    depends on the seed, its number and :meth:`state` alone. All processes together see the examples
    that one alone would see."""

    steps: int
    parts: int = 1

    def seen(self, step: int) -> int:
        """The number of examples in the steps before `step`, over all processes."""

    def step(self, model: nn.Module, step: int, part: int) -> Tensor:
        """The share of a micro-batch in the loss of a step, float []."""

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint must hold besides the weights. No name begins with `random.`."""
        return {}

    def load_state(self, state: dict[str, Tensor]) -> None:
        return

    def dev_nats(self, model: Trained) -> Iterator[tuple[str, float, float]]:
        """Dev figures of batches: a name, a sum, and what to divide it by. One is the `loss`."""

    def measure(self, model: Trained) -> dict[str, float]:
        """Further dev figures."""
        return {}

    def save(self, model: Trained, folder: Path) -> None: ...


def start(config: RunConfig) -> Accelerator:
    """Set the seed and the devices of a run; call this before anything is built. Raises a UserError
    if the tracker is missing or the run folder cannot be used."""
    if config.tracker and not find_spec(config.tracker):
        raise UserError(f"tracker {config.tracker} is not installed: pip install {config.tracker}")
    check_folder(config)
    sharding = None
    if config.shard:  # in units of a T5 block, the rest of the generator in one of its own
        sharding = FullyShardedDataParallelPlugin(
            fsdp_version=2,
            auto_wrap_policy="transformer_based_wrap",
            transformer_cls_names_to_wrap=["T5Block"],
            reshard_after_forward=True,
            cpu_ram_efficient_loading=False,
        )
    gpu = torch.cuda.is_available()
    fast = search_dtype(torch.device("cuda" if gpu else "cpu")) == torch.bfloat16
    accelerator = Accelerator(
        # Without it, each of several processes without GPUs would take itself for the only one.
        cpu=os.environ.get("WORLD_SIZE", "1") != "1" and not gpu,
        mixed_precision="bf16" if config.precision == "bf16" and fast else "no",
        log_with=config.tracker or None,
        project_dir=config.out,
        fsdp_plugin=sharding,
        # Buffers are tables that no step changes.
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
    )
    if sharding and accelerator.distributed_type == DistributedType.MULTI_CPU:
        # Otherwise accelerate would silently train whole copies on CPUs.
        accelerator.state.fsdp_plugin = sharding
        accelerator.state.distributed_type = DistributedType.FSDP
    set_seed(config.seed)
    return accelerator


def run(
    task: Task[M],
    model: M,
    config: RunConfig,
    accelerator: Accelerator,
    pace: Callable[[str], float] = lambda name: 1.0,
) -> Path:
    """Train `model`, or resume the run in ``config.out``. Returns the folder of the model with the
    lowest dev loss; `last` beside it has that of the last step. `pace` gives a factor on the
    learning rate of each weight by its name. Raises a UserError if the checkpoint is damaged."""
    make_folder(config.out)
    checkpoints = Checkpoints(config, accelerator)
    model.to(accelerator.device)
    optim, current = config.optim, copier(model)
    wrapped, optimizer = accelerator.prepare(model, adamw(model, optim, pace))
    if config.compile:
        wrapped = torch.compile(wrapped)
    step, elapsed = checkpoints.load(model, optimizer, task)
    log = RunLog(config, accelerator, task, step)
    budget, began = seconds(config.budget), time.monotonic() - elapsed

    def keep_best(model: M) -> None:
        if log.dev(step, evaluate(task, model)):
            task.save(model, config.out / "model")

    while step < task.steps:
        elapsed = time.monotonic() - began
        if accelerator.num_processes > 1:  # all must stop at the same step
            elapsed = float(broadcast(torch.tensor(elapsed, device=accelerator.device)))
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
            keep_best(current())
        if step % config.save_every == 0:
            checkpoints.save(step, time.monotonic() - began, model, optimizer, task)

    checkpoints.save(step, time.monotonic() - began, model, optimizer, task)
    finished = current()
    if step % config.eval_every:
        keep_best(finished)
    log.close()
    if accelerator.is_main_process:
        task.save(finished, config.out / "last")
    accelerator.wait_for_everyone()
    return config.out / "model"


@torch.inference_mode()
def evaluate(task: Task[M], model: M) -> dict[str, float]:
    """The dev figures of a model in training."""
    sums, counts = defaultdict[str, float](float), defaultdict[str, float](float)
    for name, total, count in task.dev_nats(model):
        sums[name] += total
        counts[name] += count
    return {name: sums[name] / max(1, counts[name]) for name in sums} | task.measure(model)


def adamw(model: nn.Module, optim: StepConfig, pace: Callable[[str], float]) -> torch.optim.AdamW:
    paces = defaultdict(list)
    for name, weight in model.named_parameters():
        paces[pace(name)].append(weight)
    groups = [{"params": weights, "pace": factor} for factor, weights in paces.items()]
    betas, decay = (0.9, optim.beta2), optim.weight_decay
    return torch.optim.AdamW(groups, optim.lr, betas, optim.eps, decay, fused=True)


def add_gradients(model: nn.Module, task: Task[M], step: int, accelerator: Accelerator) -> Tensor:
    """Add the gradients of a step. Returns this process's part of the loss, float []."""
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
    """The factor on the learning rate after a share `done` of the steps, `progress` of the run."""
    if done < optim.warmup:
        return done / optim.warmup
    falling = (1 - progress) / (1 - optim.warmup)
    return 1.0 if optim.decay == "constant" else max(0.0, falling)
