"""Inverting whole stores into a folder of Parquet files, by any number of processes.

Finished rows are saved every few seconds, so a kill costs no more than that.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from nanov2t.bulk.folder import FOUND, RunFolder, settings_of
from nanov2t.core.progress import Tick, progress
from nanov2t.evaluation.shared import estimate, is_first
from nanov2t.inverter import Inverter
from nanov2t.search.state import Inversion, OnRound, Round
from nanov2t.stores.base import HEAD, Rows, Store
from nanov2t.targets import describe_vectors

SAVE_SECONDS = 20.0  # between two saves of an incomplete part
WAIT = 1.0  # seconds between two looks at the parts of other processes


class BulkRun:
    """The run of a store into a folder, part by part; it continues one that is there.

    Args:
        out: the folder.
        rounds: most corrections; None: the search's default.
        beam: size of the sequence beam.
        limit: number of rows, from the first on.
        request: as in :class:`RunFolder`.

    Raises:
        UserError: the vectors have another dimension than the embedder's, or `out` cannot be
            written or holds another run.
    """

    def __init__(
        self,
        inverter: Inverter,
        source: Store,
        out: Path,
        rounds: int | None,
        beam: int,
        limit: int | None = None,
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

    def finish(self) -> None:
        """Invert until all parts are complete, including those of other processes, and print a
        summary."""
        folder = self.folder
        with progress("inverting", self.count, folder.finished_rows, shown=is_first()) as tick:
            tick.say(f"{self._source.name}: {', '.join(self.remarks)}")
            while missing := folder.missing:
                waiting = True
                for part in missing:
                    with folder.claim(part) as ours:
                        if ours:
                            waiting = False
                            self.invert_part(part, tick)
                if waiting:  # for other processes; if one dies, its part becomes free
                    time.sleep(WAIT)
                    tick(folder.finished_rows - tick.done)
        folder.tidy()
        if is_first():
            folder.show()

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
                self.folder.save_rows(part, rows.table())
                unsaved, last = 0, time.monotonic()
                tick(self.folder.finished_rows - tick.done)  # also those of other processes
            expect(i, best)

        for _ in rows.invert(self._inverter, self._rounds, self._beam, on_round):
            unsaved += 1
            tick()
        self.folder.save_rows(part, rows.table(), complete=True)
        tick(self.folder.finished_rows - tick.done)


class OpenRows:
    """Rows of a store that are being inverted; `saved` holds the cells of those that are done
    already, by index."""

    def __init__(
        self, rows: Rows, integer_ids: bool, saved: Mapping[int, dict[str, Any]] | None = None
    ):
        saved = saved or {}
        self._rows, self._integer_ids = rows, integer_ids
        self._cells = [
            {"id": id_, "error": rows.errors.get(i)} | saved.get(i, {})
            for i, id_ in enumerate(rows.ids)
        ]
        self._open = [i for i in range(len(rows.ids)) if i not in rows.errors and i not in saved]

    def invert(
        self, inverter: Inverter, rounds: int, beam: int, on_round: OnRound | None = None
    ) -> Iterator[None]:
        """Invert the rows that are not done; yields after each."""
        vectors = self._rows.vectors[self._open]
        for i, found in inverter.stream(vectors, rounds, beam, on_round=on_round):
            self._cells[self._open[i]] |= cells_of(found)
            yield

    def table(self) -> pa.Table:
        """All rows; those that are not done have neither text nor error."""
        return as_table(self._cells, self._integer_ids)


def cells_of(found: Inversion) -> dict[str, Any]:
    """The cells of an inversion, by column."""
    return {
        "inverted": found.text,
        "cosine": found.cosine,
        "stopped": found.stopped,
        "rounds": len(found.rounds) - 1,
        "embedder_calls": found.embedder_calls,
    }


def as_table(rows: Sequence[dict[str, Any]], integer_ids: bool) -> pa.Table:
    """A table with the columns id, those of :data:`FOUND`, and error; null where a row has none."""
    id_ = pa.int64() if integer_ids else pa.string()
    return pa.Table.from_pylist(list(rows), pa.schema({"id": id_} | FOUND | {"error": pa.string()}))


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
