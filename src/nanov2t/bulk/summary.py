"""The results of a finished bulk run, read from its folder."""

from __future__ import annotations

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


def show_folder(folder: RunFolder) -> None:
    """Print the results of a finished run: the share of exact texts, the cosines, and rows at even
    distances.

    Raises:
        UserError: a part is damaged.
    """
    count = exact = good = 0
    histogram = np.zeros(len(BINS) - 1, int)
    samples: list[dict[str, Any]] = []
    sampled = {folder.count * i // SAMPLES for i in range(SAMPLES)}
    for path in folder.parts.values():
        try:
            table = pq.read_table(path)
        except (OSError, pa.ArrowException) as error:
            raise UserError(
                f"{path}: damaged, delete it and run again: {first_line(error)}"
            ) from None
        cosines = table["cosine"].drop_null().to_numpy()
        exact += table["stopped"].to_pylist().count("exact")
        good += len(cosines)
        histogram += np.histogram(np.clip(cosines, -1, 1), BINS)[0]
        for place in range(table.num_rows):
            if count + place in sampled:
                samples += table.slice(place, 1).to_pylist()
        count += table.num_rows
    console, shown = Console(), max(1, good)
    console.print(
        f"{count:,} rows: {exact:,} exact ({100 * exact / shown:.1f} %), "
        f"{count - good:,} with a bad vector",
        highlight=False,
    )
    bars = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    bars.add_column("cosine", justify="right")
    bars.add_column("rows", justify="right")
    bars.add_column("")
    for low, high, rows in zip(BINS, BINS[1:], histogram.tolist(), strict=False):
        bars.add_row(f"{low:g} to {high:g}", f"{rows:,}", "█" * round(BAR * rows / shown))
    console.print(bars)
    for row in samples:
        text = row["error"] or row["inverted"]
        console.print(
            f"[dim]{escape(str(row['id']))}  {row['cosine'] or 0:.4f}[/dim]  {escape(text)}",
            highlight=False,
            soft_wrap=True,
        )
