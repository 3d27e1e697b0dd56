"""Progress on standard error: a bar on a terminal, else a line a minute."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache

from rich import progress as bars
from rich.console import Console
from rich.text import Text

LOG_SECONDS = 60  # seconds between two lines without a terminal


@cache
def terminal() -> Console:
    """Standard error. All displays share it, since only then can they be nested."""
    return Console(stderr=True)


@contextmanager
def progress(what: str, total: int, before: int = 0, shown: bool = True) -> Iterator[Tick]:
    """Show progress until the block ends, unless `shown` is False. Items done `before` do not count
    for the speed."""
    console = terminal() if shown else Console(stderr=True, quiet=True)
    tick = Tick(what, total, before, console)
    columns = [bars.TextColumn("{task.description}"), bars.BarColumn(), bars.RenderableColumn(tick)]
    hidden = not shown or not console.is_terminal
    # redirect_stdout would send what goes to a pipe to the terminal.
    with bars.Progress(*columns, console=console, redirect_stdout=False, disable=hidden) as bar:
        task = bar.add_task(what, total=total, completed=before)
        tick.on_change = lambda: bar.update(task, completed=tick.done)
        yield tick


class Tick:
    """Counts items: call it with the number just done."""

    def __init__(self, what: str, total: int, before: int, console: Console):
        self.what, self.total, self.done = what, total, before
        self.on_change: Callable[[], object] = lambda: None
        self._console, self._before = console, before
        self._began = self._last = self._logged = time.monotonic()
        self._at_most: float | None = None

    def __call__(self, items: int = 1) -> None:
        self.done += items
        self._last = time.monotonic()
        self._update()

    def __rich__(self) -> Text:
        return Text(self.state())

    def expect(self, seconds: float) -> None:
        """Set the most that an item can take, for an estimate before the first is done."""
        self._at_most = seconds
        self._update()

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self._console.print(f"nanov2t: {line}", markup=False, highlight=False, soft_wrap=True)

    def state(self) -> str:
        """The count, the speed and the time left."""
        facts = [f"{self.done:,} of {self.total:,}"]
        done, seconds = self.done - self._before, self._last - self._began
        left, since = self.total - self.done, time.monotonic() - self._last
        if done > 0 and seconds > 0:
            speed = done / seconds
            facts.append(f"{speed:,.1f} a second" if speed >= 1 else f"{60 * speed:,.1f} a minute")
            facts.append(f"{_clock(left / speed - since)} left")
        elif self._at_most is not None:
            facts.append(f"at most {_clock(left * self._at_most - since)} left")
        return ", ".join(facts)

    def _update(self) -> None:
        self.on_change()
        now = time.monotonic()
        if not self._console.is_terminal and now - self._logged >= LOG_SECONDS:
            self._logged = now
            self.say(f"{self.what}: {self.state()}")


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=max(0, round(seconds))))
