"""How far a bulk run is: a bar on a terminal, else a line a minute."""

from __future__ import annotations

import math
import time
from types import TracebackType

from rich import progress
from rich.console import Console
from rich.text import Text

LOG_SECONDS = 60
"""Time between two lines where there is no terminal."""


class RunProgress:
    """The progress of a run, on standard error.

    Args:
        count: rows of the whole run.
        finished: rows of the parts that exist already.
        shown: whether this process is the one that says anything.
    """

    def __init__(self, count: int, finished: int, shown: bool):
        self.console = Console(stderr=True, quiet=not shown)
        self._bar = progress.Progress(
            progress.TextColumn("{task.completed:,} of {task.total:,} rows"),
            progress.BarColumn(),
            _Speed(),
            progress.TimeRemainingColumn(),
            console=self.console,
            speed_estimate_period=math.inf,  # a row may take longer than rich's half minute
            disable=not self.console.is_terminal or not shown,
        )
        self._task = self._bar.add_task("", total=count, completed=finished)
        self._finished, self._in_hand = finished, 0
        self._logged = time.monotonic()

    def __enter__(self) -> RunProgress:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self.console.print(f"nanov2t: {line}", markup=False, highlight=False, soft_wrap=True)

    def row_done(self) -> None:
        """A row of this process's part in hand is done."""
        self._in_hand += 1
        self._update()

    def parts_done(self, finished: int) -> None:
        """`finished` rows are in parts that exist by now, whoever made them; none is in hand."""
        self._finished, self._in_hand = finished, 0
        self._update()

    def _update(self) -> None:
        self._bar.update(self._task, completed=self._finished + self._in_hand)
        now = time.monotonic()
        if self.console.is_terminal or now - self._logged < LOG_SECONDS:
            return
        self._logged = now
        task = self._bar.tasks[self._task]
        self.say(
            f"{task.completed:,} of {task.total:,} rows, {_speed_of(task)}, "
            f"{progress.TimeRemainingColumn().render(task)} left"
        )


class _Speed(progress.ProgressColumn):
    """How fast rows are done."""

    def render(self, task: progress.Task) -> Text:
        return Text(_speed_of(task))


def _speed_of(task: progress.Task) -> str:
    """Rows a second, or a minute where they take longer."""
    speed = task.speed or 0
    return f"{speed:,.1f} a second" if speed >= 1 else f"{60 * speed:,.1f} a minute"
