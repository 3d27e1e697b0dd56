"""What a training run reports: a progress bar, metrics.jsonl, and a tracker if asked."""

from __future__ import annotations

import json
import math
import time
from datetime import timedelta
from typing import Any

from accelerate import Accelerator
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from torch import Tensor
from torch.distributed.tensor import DTensor

from nanov2t.core.files import write_whole
from nanov2t.core.parts import flat
from nanov2t.train.config import RunConfig, seconds, settings_of

EVERY, SOON = 10, 10
"""Steps between records of the loss, since a GPU must wait for each; and seconds after which fewer
steps are enough to estimate the speed."""


class RunLog:
    """Logs a task's steps from `step` on. Only the first process writes and prints."""

    def __init__(self, config: RunConfig, accelerator: Accelerator, task: Any, step: int):
        self.config, self.accelerator, self.task = config, accelerator, task
        self.main, self.path = accelerator.is_main_process, config.out / "metrics.jsonl"
        self.first_step, self.began = step, time.monotonic()
        if config.tracker:
            kinds = (bool, int, float, str)  # tensorboard takes no others
            settings = flat(settings_of(config)).items()
            named = {"name": config.name or config.out.name}
            wandb = named | {"dir": str(config.out), "notes": config.notes}
            values = {key: x if isinstance(x, kinds) else str(x) for key, x in settings}
            accelerator.init_trackers("nanov2t", values, {"wandb": wandb, "trackio": named})
        self.lowest = math.inf
        if self.main and self.path.exists():
            # Drop the records of steps that are taken again.
            lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = [x for x in lines if x.endswith("\n") and json.loads(x)["step"] <= step]
            write_whole(self.path, "".join(kept).encode())
            losses = [json.loads(x).get("dev_loss", math.inf) for x in kept]
            self.lowest = min(losses, default=math.inf)
        self.budget, self.estimated = seconds(config.budget), False
        self.timed: tuple[int, float] | None = None
        """The number of the first step, which may compile, and when it ended. The speed is that of
        the steps after it."""
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:,} of {task.total:,} steps{task.fields[left]}"),
            console=Console(stderr=True, quiet=not self.main),
        )
        self.bar = self.progress.add_task("training", total=task.steps, completed=step, left="")
        self.progress.start()
        if config.precision == "bf16" and accelerator.mixed_precision == "no":
            self._say("nanov2t: no fast bfloat16 on this processor: training in float32")

    def step(self, step: int, loss: Tensor, norm: Tensor, lr: float, elapsed: float) -> None:
        """Report, after `step` steps and `elapsed` seconds, this process's part of the loss and the
        gradient's norm before clipping, float [] each."""
        self._show(step, elapsed)
        if step % EVERY:
            return
        total, seen = float(self.accelerator.reduce(loss, "sum")), self.task.seen(step)
        speed = (seen - self.task.seen(self.first_step)) / (time.monotonic() - self.began)
        record = {"step": step, "examples": seen, "loss": total}
        record["gradient_norm"] = float(norm.full_tensor() if isinstance(norm, DTensor) else norm)
        self._write(record | {"lr": lr, "seconds": elapsed, "examples_per_second": speed})
        self.progress.update(self.bar, description=f"loss {total:.3f}")

    def _show(self, step: int, elapsed: float) -> None:
        now = time.monotonic()
        first, since = self.timed = self.timed or (step, now)
        if now == since:
            self.progress.update(self.bar, completed=step)
            return
        pace = (now - since) / (step - first)
        left = min(pace * (self.task.steps - step), max(0.0, self.budget - elapsed))
        last = min(self.task.steps, step + math.ceil(left / pace))
        spelled = timedelta(seconds=round(left))
        self.progress.update(self.bar, completed=step, total=last, left=f", {spelled} left")
        known = step - first >= EVERY or now - self.began >= SOON
        if known and step < last and not self.estimated:
            self.estimated = True
            total = self.task.steps
            ends = f"; the budget ends before step {total:,}" if last < total else ""
            steps = f"steps {step + 1:,} to {last:,}, {pace:.2f} s each"
            self._say(f"nanov2t: about {spelled} left: {steps}{ends}")

    def dev(self, step: int, figures: dict[str, float]) -> bool:
        """Record dev figures. Returns whether their loss is the lowest; False on other processes
        than the first."""
        self._write({"step": step} | {f"dev_{key}": value for key, value in figures.items()})
        self._say(f"step {step}  " + "  ".join(f"{key} {x:.4g}" for key, x in figures.items()))
        best = figures["loss"] < self.lowest or math.isinf(self.lowest)
        self.lowest = min(self.lowest, figures["loss"])
        return best and self.main

    def close(self) -> None:
        self.progress.stop()
        if self.config.tracker:
            self.accelerator.end_training()

    def _say(self, line: str) -> None:
        self.progress.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _write(self, record: dict[str, Any]) -> None:
        if self.config.tracker:
            figures = {key: value for key, value in record.items() if key != "step"}
            self.accelerator.log(figures, step=record["step"])
        if self.main:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
