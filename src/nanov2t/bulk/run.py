"""Whole stores inverted into a folder of Parquet files, by any number of processes, killed at any
moment.

The rows that are done of a part are saved every few seconds, so a kill costs no more than that.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from nanov2t.bulk.folder import RunFolder, settings_of
from nanov2t.bulk.summary import show_folder
from nanov2t.bulk.table import OpenRows
from nanov2t.core.progress import Tick, progress
from nanov2t.evaluation.pace import estimate
from nanov2t.inverter import Inverter
from nanov2t.search.state import Round
from nanov2t.stores.base import HEAD, Store
from nanov2t.targets import describe_vectors

SAVE_SECONDS = 20.0
"""Between two times that the finished rows of a part in hand are saved."""

WAIT = 1.0
"""Seconds between two looks at the parts that other processes are doing."""


def invert_source(
    inverter: Inverter,
    source: Store,
    out: Path,
    rounds: int | None,
    beam: int,
    limit: int | None = None,
    request: str = "",
) -> None:
    """Invert a store into `out`, or continue such a run; returns when all parts exist, including
    parts done by other processes.

    Args:
        rounds: corrections at most; None: the search's default.
        beam: size of the sequence beam.
        limit: only the first so many rows.
        request: as of :class:`RunFolder`.

    Raises:
        UserError: the vectors are of another dimension than the embedder's, or `out` cannot be
            written or holds another run.
    """
    run = BulkRun(inverter, source, out, rounds, beam, limit, request)
    folder = run.folder
    first = os.environ.get("RANK", "0") == "0"
    with progress("inverting", run.count, folder.finished_rows, shown=first) as tick:
        tick.say(f"{source.name}: {', '.join(run.remarks)}")
        while missing := folder.missing:
            waiting = True
            for part in missing:
                with folder.claim(part) as ours:
                    if not ours:
                        continue
                    waiting = False
                    run.invert_part(part, tick)
            if waiting:  # for other processes; should one die, its part becomes free
                time.sleep(WAIT)
                tick(folder.finished_rows - tick.done)
    folder.tidy()  # the last process to end leaves nothing behind
    if first:
        show_folder(folder)


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
        request: str = "",
    ):
        self.remarks = look_at(source, inverter)
        self._inverter, self._source, self._beam = inverter, source, beam
        self._rounds = inverter.default_rounds if rounds is None else rounds
        self.count = min(source.count, limit or source.count)
        settings = settings_of(
            source, self.count, inverter.search, inverter.effort, inverter.budget, beam
        )
        manifest = settings | _settings_of(inverter) | {"rounds": self._rounds}
        self.folder = RunFolder(out, self.count, manifest, request)

    def invert_part(self, part: int, tick: Tick) -> None:
        """Invert the rows of a part that are not saved yet, and write it."""
        numbers = self.folder.rows_of(part)
        stored = self._source.read(numbers.start, numbers.stop)
        rows = OpenRows(stored, self._source.integer_ids, self.folder.saved(part))
        expect = estimate(self._inverter, self._rounds, tick)
        unsaved, last = 0, time.monotonic()

        def on_round(i: int, best: Round) -> None:
            nonlocal unsaved, last
            if unsaved and time.monotonic() - last >= SAVE_SECONDS:
                self.folder.save(part, rows.table())
                unsaved, last = 0, time.monotonic()
                tick(self.folder.finished_rows - tick.done)  # other processes' rows among them
            expect(i, best)

        for _ in rows.invert(self._inverter, self._rounds, self._beam, on_round):
            unsaved += 1
            tick()
        self.folder.write(part, rows.table())
        tick(self.folder.finished_rows - tick.done)


def look_at(source: Store, inverter: Inverter) -> list[str]:
    """What is to be said of the vectors of a store, by its first rows.

    Raises:
        UserError: they are of another dimension than the embedder's.
    """
    embedder = inverter.embedder
    source.expect(embedder.dim, embedder.name)
    rows = source.read(0, min(source.count, HEAD))
    vectors = np.delete(rows.vectors, list(rows.errors), axis=0)
    remarks = [f"{source.count:,} vectors", f"{source.dim} dimensions", source.kind]
    doubt = inverter.alignment.doubt(vectors) if inverter.alignment else ""
    return [*remarks, *describe_vectors(vectors, embedder.info), *filter(None, [doubt])]


def _settings_of(inverter: Inverter) -> dict[str, Any]:
    """The settings of a manifest that only the inverter knows."""
    defence = inverter.defence
    return {
        "inverter": {"name": inverter.embedder.name, "fingerprint": inverter.fingerprint()},
        "defence": getattr(defence, "__qualname__", defence and type(defence).__qualname__),
    }
