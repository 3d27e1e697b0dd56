"""The folder of a bulk run: its manifest, its parts, and a summary of its rows."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from nanov2t.core.errors import UserError, first_line
from nanov2t.core.files import digest, file_fingerprint, write_whole
from nanov2t.core.manifest import check_same_run
from nanov2t.core.parts import Parts
from nanov2t.models.hub import locate
from nanov2t.pretrained import BUNDLED
from nanov2t.search.options import Budget
from nanov2t.stores.base import Store

MANIFEST = "_manifest.json"
PART_ROWS = 1024  # enough that the smaller batches at the end of a part cost little
FOUND = {
    "inverted": pa.string(),
    "cosine": pa.float64(),
    "stopped": pa.string(),
    "rounds": pa.int32(),
    "embedder_calls": pa.int32(),
}
"""Columns of an inversion."""
BINS = (-1.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999, 1.0)  # of the cosines
SAMPLES = 10
BAR = 40  # characters of the longest bar


class RunFolder(Parts):
    """A folder with `_manifest.json`, the settings of a run, and `part-*.parquet`.

    Args:
        out: the folder; it is made unless it exists.
        count: rows of the whole run.
        manifest: all settings that change the results.
        request: from :func:`request_of`, by which :func:`finished_folder` recognises the run.

    Raises:
        UserError: the folder cannot be written, or holds another run.
    """

    def __init__(self, out: Path, count: int, manifest: dict[str, Any], request: str = ""):
        super().__init__(out, -(-count // PART_ROWS), ".parquet")
        self.count = count
        path = out / MANIFEST
        if not path.exists():
            with self.writing(), FileLock(out / "._manifest.lock"):
                if not path.exists():
                    write_whole(
                        path, json.dumps(manifest | {"request": request}, indent=2).encode()
                    )
        self.manifest = _read_manifest(path)
        check_same_run(out, self.manifest, manifest, "--out")

    @property
    def finished_rows(self) -> int:
        """Rows that are done and saved, in complete and incomplete parts."""
        complete = sum(len(self.rows_of(part)) for part in self.parts)
        return complete + sum(len(self.saved(part)) for part in self.begun)

    def rows_of(self, part: int) -> range:
        return range(part * PART_ROWS, min((part + 1) * PART_ROWS, self.count))

    def saved(self, part: int) -> dict[int, dict[str, Any]]:
        """The cells of the finished rows of an incomplete part, by their index in the part; none if
        the file is damaged."""
        try:
            table = pq.read_table(self.open_file(part), columns=list(FOUND))
        except (OSError, pa.ArrowException):
            return {}
        return {i: row for i, row in enumerate(table.to_pylist()) if row["inverted"] is not None}

    def save_rows(self, part: int, table: pa.Table, complete: bool = False) -> None:
        """Save what is done of a part.

        Raises:
            UserError: it cannot be written.
        """
        buffer = pa.BufferOutputStream()
        pq.write_table(table, buffer)
        (self.write if complete else self.save)(part, memoryview(buffer.getvalue()))

    def show(self) -> None:
        """Print the share of exact texts, the cosines, and rows at even distances.

        Raises:
            UserError: a part is damaged.
        """
        count = exact = good = 0
        histogram = np.zeros(len(BINS) - 1, int)
        samples: list[dict[str, Any]] = []
        for path in self.parts.values():
            try:
                table = pq.read_table(path)
            except (OSError, pa.ArrowException) as error:
                said = f"damaged, delete it and run again: {first_line(error)}"
                raise UserError(f"{path}: {said}") from None
            cosines = table["cosine"].drop_null().to_numpy()
            exact += table["stopped"].to_pylist().count("exact")
            good += len(cosines)
            histogram += np.histogram(np.clip(cosines, -1, 1), BINS)[0]
            for place in sorted({self.count * i // SAMPLES - count for i in range(SAMPLES)}):
                samples += table.slice(place, 1).to_pylist() if place >= 0 else []
            count += len(table)
        console, shown = Console(highlight=False), max(1, good)
        share = f"{exact:,} exact ({100 * exact / shown:.1f} %)"
        console.print(f"{count:,} rows: {share}, {count - good:,} with a bad vector")
        bars = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        for name in ("cosine", "rows", ""):
            bars.add_column(name, justify="right" if name else "left")
        for low, high, rows in zip(BINS, BINS[1:], histogram.tolist(), strict=False):
            bars.add_row(f"{low:g} to {high:g}", f"{rows:,}", "█" * round(BAR * rows / shown))
        console.print(bars)
        for row in samples:
            fact = f"[dim]{escape(str(row['id']))}  {row['cosine'] or 0:.4f}[/dim]"
            console.print(f"{fact}  {escape(row['error'] or row['inverted'])}", soft_wrap=True)


def settings_of(
    source: Store, count: int, search: str, effort: str, budget: Budget, beam: int
) -> dict[str, Any]:
    """The settings of a manifest that are known before the inverter is loaded."""
    return {
        "source": {"name": source.name, "fingerprint": source.fingerprint},
        "rows": count,
        "ids": source.ids,
        "search": search,
        "effort": effort,
        "budget": str(budget),
        "beam": beam,
        "part": PART_ROWS,
    }


def finished_folder(out: Path, settings: dict[str, Any], request: str) -> RunFolder | None:
    """The folder if it holds the whole run, recognised by `request` without loading the inverter.

    Args:
        settings: of :func:`settings_of`, and others of the manifest.

    Raises:
        UserError: the folder holds a run with other settings.
    """
    if not (out / MANIFEST).is_file():
        return None
    folder = RunFolder(out, settings["rows"], settings)
    same = request and folder.manifest.get("request") == request
    return None if folder.missing or not same else folder


def request_of(options: Mapping[str, Any], models: Sequence[str | None]) -> str:
    """A hash of the command, or an empty string if the inverter has no files on this machine.

    Args:
        options: all that change the results, except the models and the source.
        models: the inverter's name, then those of other models or None. Models in folders are
            hashed by their files, others by their names.
    """
    facts: list[Any] = [sorted(options.items())]
    for name in models:
        folder = BUNDLED.get(name or "") or locate(re.split("[#?]", name or "")[0])
        paths = sorted(path for path in folder.rglob("*") if path.is_file()) if name else []
        files = [(str(path.relative_to(folder)), file_fingerprint(path)) for path in paths]
        if name is models[0] and not files:
            return ""
        facts.append(files or name)
    return digest(*facts)


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_bytes()))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: damaged: {first_line(error)}") from None
