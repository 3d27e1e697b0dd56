"""Inverting whole stores into a folder of Parquet files, by any number of processes.

Finished rows are saved every few seconds, so a kill costs no more than that.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from nanov2t.bulk.folder import RunFolder, settings_of
from nanov2t.bulk.summary import show_folder
from nanov2t.bulk.table import OpenRows
from nanov2t.core.progress import Tick, progress
from nanov2t.evaluation.shared import estimate, is_first
from nanov2t.inverter import Inverter
from nanov2t.search.state import Round
from nanov2t.stores.base import HEAD, Store
from nanov2t.targets import describe_vectors

SAVE_SECONDS = 20.0
"""Seconds between two saves of an incomplete part."""

WAIT = 1.0
"""Seconds between two looks at the parts of other processes."""


def invert_source(
    inverter: Inverter,
    source: Store,
    out: Path,
    rounds: int | None,
    beam: int,
    limit: int | None = None,
    request: str = "",
) -> None:
    """Invert a store into `out`, or continue such a run; returns when all parts are complete,
    including those of other processes.

    Args:
        rounds: most corrections; None: the search's default.
        beam: size of the sequence beam.
        limit: number of rows, from the first on.
        request: as in :class:`RunFolder`.

    Raises:
        UserError: the vectors have another dimension than the embedder's, or `out` cannot be
            written or holds another run.
    """
    run = BulkRun(inverter, source, out, rounds, beam, limit, request)
    folder = run.folder
    with progress("inverting", run.count, folder.finished_rows, shown=is_first()) as tick:
        tick.say(f"{source.name}: {', '.join(run.remarks)}")
        while missing := folder.missing:
            waiting = True
            for part in missing:
                with folder.claim(part) as ours:
                    if ours:
                        waiting = False
                        run.invert_part(part, tick)
            if waiting:  # for other processes; if one dies, its part becomes free
                time.sleep(WAIT)
                tick(folder.finished_rows - tick.done)
    folder.tidy()
    if is_first():
        show_folder(folder)


class BulkRun:
    """The run of a store into a folder, part by part. Arguments and errors are those of
    :func:`invert_source`.

    Attributes:
        folder: of the parts.
        count: number of rows.
        remarks: facts about the vectors, for the user.
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
        defence = inverter.defence
        manifest = settings | {
            "inverter": {"name": inverter.embedder.name, "fingerprint": inverter.fingerprint()},
            "defence": getattr(defence, "__qualname__", defence and type(defence).__qualname__),
            "rounds": self._rounds,
        }
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
                self.folder.save(part, rows.parquet())
                unsaved, last = 0, time.monotonic()
                tick(self.folder.finished_rows - tick.done)  # also those of other processes
            expect(i, best)

        for _ in rows.invert(self._inverter, self._rounds, self._beam, on_round):
            unsaved += 1
            tick()
        self.folder.write(part, rows.parquet())
        tick(self.folder.finished_rows - tick.done)


def look_at(source: Store, inverter: Inverter) -> list[str]:
    """Facts about the vectors of a store, from its first rows.

    Raises:
        UserError: they have another dimension than the embedder's.
    """
    embedder = inverter.embedder
    source.expect(embedder.dim, embedder.name)
    rows = source.read(0, min(source.count, HEAD))
    vectors = np.delete(rows.vectors, list(rows.errors), axis=0)
    remarks = [f"{source.count:,} vectors", f"{source.dim} dimensions", source.kind]
    doubt = inverter.alignment.doubt(vectors) if inverter.alignment else ""
    return [*remarks, *describe_vectors(vectors, embedder.info), *filter(None, [doubt])]
