"""Whole stores inverted into a folder of Parquet files, by any number of processes, killed at any
moment.

Each part of the folder is a search of its own, so its rows are the same whoever does it and
whatever happened before.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from rich.console import Console

from nanov2t.bulk.folder import PART_ROWS, RunFolder
from nanov2t.bulk.progress import RunProgress
from nanov2t.bulk.summary import show_summary, summarise
from nanov2t.bulk.table import as_table, cells_of
from nanov2t.core.errors import UserError
from nanov2t.inverter import Inverter
from nanov2t.stores.base import HEAD, Rows, Store
from nanov2t.targets import describe_vectors

WAIT = 1.0
"""Seconds between two looks at the parts that other processes are doing."""


def invert_source(
    inverter: Inverter,
    source: Store,
    out: Path,
    rounds: int | None,
    beam: int,
    limit: int | None = None,
) -> None:
    """Invert a store into `out`, or continue such a run; returns when all parts exist, including
    parts done by other processes.

    Args:
        rounds: corrections at most; None: the search's default.
        beam: size of the sequence beam.
        limit: only the first so many rows.

    Raises:
        UserError: the vectors are of another dimension than the embedder's, or `out` cannot be
            written or holds another run.
    """
    run = BulkRun(inverter, source, out, rounds, beam, limit)
    folder = run.folder
    first = os.environ.get("RANK", "0") == "0"
    with RunProgress(run.count, folder.finished_rows, shown=first) as progress:
        progress.say(f"{source.name}: {', '.join(run.remarks)}")
        while missing := folder.missing:
            waiting = True
            for part in missing:
                with folder.claim(part) as ours:
                    if not ours:
                        continue
                    waiting = False
                    run.invert_part(part, progress.row_done)
                    progress.parts_done(folder.finished_rows)
            if waiting:  # for other processes; should one die, its part becomes free
                time.sleep(WAIT)
                progress.parts_done(folder.finished_rows)
    if first:
        run.finish()


class BulkRun:
    """A store on its way into a folder, for whatever shares out the parts.

    Args: as of :func:`invert_source`, with the same errors.

    Attributes:
        folder: the parts.
        count: of the rows.
        remarks: what is to be said of the vectors.
    """

    def __init__(
        self,
        inverter: Inverter,
        source: Store,
        out: Path,
        rounds: int | None,
        beam: int,
        limit: int | None,
    ):
        self.remarks = look_at(source, inverter)
        self._inverter, self._source, self._beam = inverter, source, beam
        self._rounds = inverter.default_rounds if rounds is None else rounds
        self.count = min(source.count, limit or source.count)
        manifest = _manifest(inverter, source, self._rounds, beam, self.count)
        self.folder = RunFolder(out, self.count, manifest)

    def invert_part(self, part: int, on_row: Callable[[], None] = lambda: None) -> None:
        """Invert the rows of a part, and write it."""
        numbers = self.folder.rows_of(part)
        rows = self._source.read(numbers.start, numbers.stop)
        integers = self._source.integer_ids
        table = invert_rows(self._inverter, rows, integers, self._rounds, self._beam, on_row)
        self.folder.write(part, table)

    def finish(self) -> None:
        """Tidy the folder, once no part is missing, and print what was found."""
        self.folder.tidy()
        show_summary(summarise(list(self.folder.parts.values()), self.count), Console())


def invert_rows(
    inverter: Inverter,
    rows: Rows,
    integer_ids: bool,
    rounds: int,
    beam: int,
    on_row: Callable[[], None] = lambda: None,
) -> pa.Table:
    """Rows inverted, as a table."""
    good = [i for i in range(len(rows.ids)) if i not in rows.errors]
    cells: list[dict[str, Any]] = [
        {"id": id_, "error": rows.errors.get(i)} for i, id_ in enumerate(rows.ids)
    ]
    for i, found in inverter.stream(rows.vectors[good], rounds, beam):
        cells[good[i]] |= cells_of(found)
        on_row()
    return as_table(cells, integer_ids)


def look_at(source: Store, inverter: Inverter) -> list[str]:
    """What is to be said of the vectors of a store, by its first rows.

    Raises:
        UserError: they are of another dimension than the embedder's.
    """
    embedder = inverter.embedder
    if source.dim != embedder.dim:
        raise UserError(
            f"{source.name}: vectors of {source.dim} dimensions, but {embedder.name} makes "
            f"{embedder.dim}"
        )
    rows = source.read(0, min(source.count, HEAD))
    vectors = np.delete(rows.vectors, list(rows.errors), axis=0)
    remarks = [f"{source.count:,} vectors", f"{source.dim} dimensions", source.kind]
    return remarks + describe_vectors(vectors, embedder.info)


def _manifest(
    inverter: Inverter, source: Store, rounds: int, beam: int, count: int
) -> dict[str, Any]:
    """All that decides what a run writes."""
    defence = inverter.defence
    return {
        "source": {"name": source.name, "fingerprint": source.fingerprint},
        "inverter": {"name": inverter.embedder.name, "fingerprint": inverter.fingerprint()},
        "rows": count,
        "ids": source.ids,
        "search": inverter.search,
        "effort": inverter.effort,
        "budget": str(inverter.budget),
        "defence": getattr(defence, "__qualname__", defence and type(defence).__qualname__),
        "rounds": rounds,
        "beam": beam,
        "part": PART_ROWS,
    }
