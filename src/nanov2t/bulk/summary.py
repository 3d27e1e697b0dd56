"""The results of a finished bulk run, read from its folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from nanov2t.bulk.folder import RunFolder
from nanov2t.core.errors import UserError, first_line

BINS = (-1.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999, 1.0)
"""Edges of the histogram of cosines."""
SAMPLES = 10
BAR = 40
"""Characters of the longest bar."""


@dataclass
class Summary:
    """Counts over the rows of a run."""

    rows: int = 0
    exact: int = 0
    bad: int = 0
    """Rows that could not be inverted."""
    histogram: np.ndarray = field(default_factory=lambda: np.zeros(len(BINS) - 1, int))
    """Rows by cosine, int [bins]."""
    samples: list[dict[str, Any]] = field(default_factory=list)
    """Rows at even distances."""


def show_folder(folder: RunFolder) -> None:
    """Print the results of a finished run."""
    show_summary(summarise(list(folder.parts.values()), folder.count), Console())


def summarise(parts: Sequence[Path], count: int) -> Summary:
    """Count over the parts of a run of `count` rows, in their order.

    Raises:
        UserError: a part is damaged.
    """
    summary = Summary()
    sampled = {count * i // SAMPLES for i in range(SAMPLES)}
    for path in parts:
        try:
            table = pq.read_table(path)
        except (OSError, pa.ArrowException) as error:
            raise UserError(
                f"{path}: damaged, delete it and run again: {first_line(error)}"
            ) from None
        cosines = table["cosine"].drop_null().to_numpy()
        summary.exact += table["stopped"].to_pylist().count("exact")
        summary.bad += table.num_rows - len(cosines)
        summary.histogram += np.histogram(np.clip(cosines, -1, 1), BINS)[0]
        for place in range(table.num_rows):
            if summary.rows + place in sampled:
                summary.samples += table.slice(place, 1).to_pylist()
        summary.rows += table.num_rows
    return summary


def show_summary(summary: Summary, console: Console) -> None:
    """Print the share of exact texts, the cosines and the samples."""
    good = max(1, summary.rows - summary.bad)
    console.print(
        f"{summary.rows:,} rows: {summary.exact:,} exact ({100 * summary.exact / good:.1f} %), "
        f"{summary.bad:,} with a bad vector",
        highlight=False,
    )
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("cosine", justify="right")
    table.add_column("rows", justify="right")
    table.add_column("")
    for low, high, rows in zip(BINS, BINS[1:], summary.histogram.tolist(), strict=False):
        table.add_row(f"{low:g} to {high:g}", f"{rows:,}", "█" * round(BAR * rows / good))
    console.print(table)
    for row in summary.samples:
        text = row["error"] or row["inverted"]
        console.print(
            f"[dim]{escape(str(row['id']))}  {row['cosine'] or 0:.4f}[/dim]  {escape(text)}",
            highlight=False,
            soft_wrap=True,
        )
