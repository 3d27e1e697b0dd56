"""What a training run reports: a progress bar, metrics.jsonl, and a tracker if asked."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from torch import Tensor
from torch.distributed.tensor import DTensor

from nanov2t.core.files import write_whole
from nanov2t.core.manifest import flat
from nanov2t.train.config import RunConfig, seconds, settings_of

EVERY = 10
"""Steps between records of the loss, since reading it makes a GPU wait."""
SOON = 10
"""Seconds after which fewer steps are enough to estimate the speed."""


class RunLog:
    """Logs on the first process; silent on the others.

    Args:
        step: where the run starts, of `total`.
        seen: how many examples are in the steps before a step.
    """

    def __init__(
        self,
        config: RunConfig,
        accelerator: Accelerator,
        step: int,
        total: int,
        seen: Callable[[int], int],
    ):
        self.config, self.accelerator = config, accelerator
        self.seen, self.first_step, self.began = seen, step, time.monotonic()
        if config.tracker:
            _track(config, accelerator)
        if not accelerator.is_main_process:
            return
        self.path = config.out / "metrics.jsonl"
        self.lowest = _drop_after(step, self.path) if self.path.exists() else math.nan
        self.total, self.budget, self.estimated = total, seconds(config.budget), False
        self.timed: tuple[int, float] | None = None
        """A step, and when it ended: from there on, steps are timed."""
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:,} of {task.total:,} steps{task.fields[left]}"),
            console=Console(stderr=True),
        )
        self.task = self.progress.add_task("training", total=total, completed=step, left="")
        self.progress.start()
        if config.precision == "bf16" and accelerator.mixed_precision == "no":
            self._say("nanov2t: no fast bfloat16 on this processor: training in float32")

    def step(self, step: int, loss: Tensor, norm: Tensor, lr: float, elapsed: float) -> None:
        """Report `step` steps: this process's part of the last loss, and the gradient's norm before
        clipping, both float [], after `elapsed` seconds of training."""
        if self.accelerator.is_main_process:
            self._show(step, elapsed)
        if step % EVERY:
            return
        total = float(self.accelerator.reduce(loss, "sum"))
        length = float(norm.full_tensor() if isinstance(norm, DTensor) else norm)
        seen = self.seen(step)
        speed = (seen - self.seen(self.first_step)) / (time.monotonic() - self.began)
        self._write(
            {
                "step": step,
                "examples": seen,
                "loss": total,
                "gradient_norm": length,
                "lr": lr,
                "seconds": elapsed,
                "examples_per_second": speed,
            }
        )
        if self.accelerator.is_main_process:
            self.progress.update(self.task, description=f"loss {total:.3f}")

    def _show(self, step: int, elapsed: float) -> None:
        now = time.monotonic()
        if self.timed is None:
            self.timed = step, now
        first, since = self.timed
        if now == since:  # the first step may compile
            self.progress.update(self.task, completed=step)
            return
        pace = (now - since) / (step - first)
        left = min(pace * (self.total - step), max(0.0, self.budget - elapsed))
        last = min(self.total, step + math.ceil(left / pace))
        spelled = timedelta(seconds=round(left))
        self.progress.update(self.task, completed=step, total=last, left=f", {spelled} left")
        known = step - first >= EVERY or now - self.began >= SOON
        if self.estimated or step == last or not known:
            return
        self.estimated = True
        said = f"about {spelled} left: steps {step + 1:,} to {last:,}, {pace:.2f} s each"
        if last < self.total:
            said += f"; the budget ends before step {self.total:,}"
        self._say(f"nanov2t: {said}")

    def dev(self, step: int, figures: dict[str, float]) -> bool:
        """Record dev figures. On the first process, returns whether their loss is the lowest."""
        self._write({"step": step} | {f"dev_{key}": value for key, value in figures.items()})
        if self.accelerator.is_main_process:
            shown = "  ".join(f"{key} {value:.4g}" for key, value in figures.items())
            self._say(f"step {step}  {shown}")
            if math.isnan(self.lowest) or figures["loss"] < self.lowest:
                self.lowest = figures["loss"]
                return True
        return False

    def close(self) -> None:
        if self.accelerator.is_main_process:
            self.progress.stop()
        if self.config.tracker:
            self.accelerator.end_training()

    def _say(self, line: str) -> None:
        self.progress.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _write(self, record: dict[str, Any]) -> None:
        if self.config.tracker:
            self.accelerator.log(
                {key: value for key, value in record.items() if key != "step"}, step=record["step"]
            )
        if self.accelerator.is_main_process:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")


def _track(config: RunConfig, accelerator: Accelerator) -> None:
    name = config.name or config.out.name
    kinds = (bool, int, float, str)  # tensorboard takes no others
    settings = flat(settings_of(config))
    accelerator.init_trackers(
        "nanov2t",
        {key: value if isinstance(value, kinds) else str(value) for key, value in settings.items()},
        {
            "wandb": {"dir": str(config.out), "name": name, "notes": config.notes},
            "trackio": {"name": name},
        },
    )


def _drop_after(step: int, path: Path) -> float:
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [x for x in lines if x.endswith("\n") and json.loads(x)["step"] <= step]
    write_whole(path, "".join(kept).encode())
    losses = [json.loads(x).get("dev_loss", math.nan) for x in kept]
    return min((x for x in losses if not math.isnan(x)), default=math.nan)
