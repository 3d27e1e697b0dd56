"""How far a bulk run is and how well it went: the progress line and the summary."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from nanov2t.core.errors import UserError

BINS = (-1.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999, 1.0)
SAMPLES = 10


class Tally:
    """Counts over the parts of a run, and samples spread evenly over its rows."""

    def __init__(self, count: int):
        self.count = count
        self.seen: dict[int, int] = {}
        self.exact = self.bad = 0
        self.histogram = np.zeros(len(BINS) - 1, int)
        self.samples: dict[int, dict] = {}

    @property
    def rows(self) -> int:
        return sum(self.seen.values())

    def add(self, part: int, path: Path, size: int) -> None:
        """Count a part whose full size is `size`.

        Raises:
            UserError: it is damaged.
        """
        try:
            table = pq.read_table(path)
        except (OSError, pa.ArrowException) as error:
            raise UserError(
                f"{path}: damaged, delete it and run again: {str(error).splitlines()[0]}"
            ) from None
        cosines = table["cosine"].drop_null().to_numpy()
        self.exact += table["stopped"].to_pylist().count("exact")
        self.bad += table.num_rows - len(cosines)
        self.histogram += np.histogram(np.clip(cosines, -1, 1), BINS)[0]
        for row in (self.count * i // SAMPLES for i in range(SAMPLES)):
            if row // size == part:
                self.samples[row] = table.slice(row % size, 1).to_pylist()[0]
        self.seen[part] = table.num_rows


class Progress:
    """The progress of a run: a live line on a terminal, else a line a minute; and the summary.

    Args:
        count: rows of the whole run.
        size: rows of a part.
        whole: finds the parts that exist.
        shown: whether this process is the one that says anything.
    """

    def __init__(self, count: int, size: int, whole: Callable[[], dict[int, Path]], shown: bool):
        self.count, self.size, self.whole, self.shown = count, size, whole, shown
        self.tally, self.own = Tally(count), 0
        self.console = Console(stderr=True, quiet=not shown)
        self.status = self.console.status("reading what is there")
        self.parts()
        self.before, self.began = self.tally.rows, time.monotonic()
        self.told = self.began

    def __enter__(self) -> Progress:
        self.status.start()
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.status.stop()

    def say(self, line: str) -> None:
        self.console.print(f"nanov2t: {line}", markup=False, highlight=False, soft_wrap=True)

    def row(self) -> None:
        """A row of the part in hand is done."""
        self.own += 1
        self._tell()

    def parts(self) -> None:
        """Count the parts that have come to exist, by whomever; those of this process are no longer
        in hand."""
        self.own = 0
        if self.shown:
            for part, path in self.whole().items():
                if part not in self.tally.seen:
                    self.tally.add(part, path, self.size)

    def line(self) -> str:
        tally, done = self.tally, self.tally.rows + self.own
        rate = (done - self.before) / max(1e-9, time.monotonic() - self.began)
        left = timedelta(seconds=round((self.count - done) / rate)) if rate else "unknown time"
        exact = 100 * tally.exact / max(1, tally.rows)
        return (
            f"{done:,} of {self.count:,} rows, {rate:,.1f} a second, {left} left, "
            f"{exact:.1f} % exact so far"
        )

    def summary(self) -> None:
        """Print the share of exact texts, the cosines and some samples."""
        tally, console = self.tally, Console()
        good = tally.rows - tally.bad
        console.print(
            f"{tally.rows:,} rows: {tally.exact:,} exact ({100 * tally.exact / max(1, good):.1f} "
            f"%), "
            f"{tally.bad:,} with a bad vector",
            highlight=False,
        )
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        for column in ("cosine", "rows", ""):
            table.add_column(column, justify="left" if not column else "right")
        for low, high, rows in zip(BINS, BINS[1:], tally.histogram, strict=False):
            table.add_row(
                f"{low:g} to {high:g}", f"{rows:,}", "█" * round(40 * rows / max(1, good))
            )
        console.print(table)
        for sample in (tally.samples[row] for row in sorted(tally.samples)):
            text = sample["error"] or sample["inverted"]
            console.print(
                f"[dim]{escape(str(sample['id']))}  {sample['cosine'] or 0:.4f}[/dim]  "
                f"{escape(text)}",
                highlight=False,
                soft_wrap=True,
            )

    def _tell(self) -> None:
        now = time.monotonic()
        if not self.shown or now - self.told < (1 if self.console.is_terminal else 60):
            return
        self.told = now
        if self.console.is_terminal:
            self.status.update(escape(self.line()))
        else:
            self.say(self.line())
