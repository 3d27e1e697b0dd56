"""What a training run says: a progress bar, metrics.jsonl, and a tracker when asked."""

from __future__ import annotations

import json
import time

from accelerate import Accelerator
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from nanov2t.train.config import TrainConfig

EVERY = 10
"""Steps between loss records: reading the loss makes a GPU wait."""


class RunLog:
    """Logs on the first process; silent on the others."""

    def __init__(self, config: TrainConfig, accelerator: Accelerator, step: int, total: int):
        self.config, self.accelerator, self.started = config, accelerator, (step, time.monotonic())
        self.loss = 0.0
        if config.tracker:
            accelerator.init_trackers("nanov2t", init_kwargs={"wandb": {"dir": str(config.out)}})
        if not accelerator.is_main_process:
            return
        self.path = config.out / "metrics.jsonl"
        if self.path.exists():  # a killed run may have logged steps that are now taken again
            lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
            aside = self.path.with_suffix(".aside")
            whole = (line for line in lines if line.endswith("\n"))
            aside.write_text("".join(line for line in whole if json.loads(line)["step"] <= step))
            aside.rename(self.path)
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self.task = self.progress.add_task("training", total=total, completed=step, speed="")
        self.progress.start()

    def step(self, step: int, loss: Tensor, lr: float, elapsed: float) -> None:
        """After a step: move the bar; every `EVERY` steps record the loss of the last one."""
        if self.accelerator.is_main_process:
            self.progress.update(self.task, completed=step)
        if step % EVERY:
            return
        total = float(self.accelerator.reduce(loss, "sum"))
        since, clock = self.started
        speed = (step - since) * self.config.optim.batch / (time.monotonic() - clock)
        self._write(
            {
                "step": step,
                "examples": step * self.config.optim.batch,
                "loss": total,
                "lr": lr,
                "seconds": elapsed,
                "examples_per_second": speed,
            }
        )
        if self.accelerator.is_main_process:
            self.progress.update(
                self.task, description=f"loss {total:.3f}", speed=f"{speed:,.0f}/s"
            )

    def dev(self, step: int, figures: dict[str, float]) -> None:
        """Record dev figures."""
        self._write({"step": step} | {f"dev_{key}": value for key, value in figures.items()})
        if self.accelerator.is_main_process:
            shown = "  ".join(f"{key} {value:.4g}" for key, value in figures.items())
            self.progress.console.print(f"step {step}  {shown}", highlight=False)

    def close(self) -> None:
        if self.accelerator.is_main_process:
            self.progress.stop()
        if self.config.tracker:
            self.accelerator.end_training()

    def _write(self, record: dict) -> None:
        if self.config.tracker:
            self.accelerator.log(
                {key: value for key, value in record.items() if key != "step"}, step=record["step"]
            )
        if self.accelerator.is_main_process:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
