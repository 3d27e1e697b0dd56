"""Inverting whole stores into a folder of Parquet files, by any number of processes. Finished rows
are saved every few seconds, so a kill costs no more than that. Importing this does not import
torch."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock
from rich.console import Console
from rich.markup import escape

from nanov2t.core.errors import UserError, first_line
from nanov2t.core.files import digest, file_fingerprint, write_whole
from nanov2t.core.parts import MANIFEST, Parts, check_same_run
from nanov2t.core.progress import Tick, progress
from nanov2t.evaluation.shared import estimate, is_first
from nanov2t.models.hub import locate
from nanov2t.seal import seal
from nanov2t.search.options import SearchOptions
from nanov2t.stores.base import HEAD, Rows, Store

if TYPE_CHECKING:
    from nanov2t.inverter import Inverter
    from nanov2t.search.state import Inversion, OnRound, Round

PART_ROWS = 1024  # enough that the smaller batches at the end of a part cost little
FOUND = {"inverted": pa.string(), "cosine": pa.float64(), "stopped": pa.string()}
FOUND |= {"rounds": pa.int32(), "embedder_calls": pa.int32()}  # columns of an inversion
BINS = (-1.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999, 1.0)  # of the cosines
SAMPLES = 10
BAR = 40  # characters of the longest bar
SAVE_SECONDS = 20.0  # between two saves of an incomplete part
WAIT = 1.0  # seconds between two looks at the parts of other processes


class RunFolder(Parts):
    """A folder with `part-*.parquet`, and in `_manifest.json` all settings that change the results
    of a run of `count` rows. A UserError if it cannot be written, or holds another run."""

    def __init__(self, out: Path, count: int, manifest: dict[str, Any], request: str = ""):
        super().__init__(out, -(-count // PART_ROWS), ".parquet")
        self.count = count
        path = out / MANIFEST
        if not path.exists():
            with self.writing(), FileLock(out / "._manifest.lock"):
                if not path.exists():
                    content = json.dumps(manifest | {"request": request}, indent=2)
                    write_whole(path, content.encode())
        try:
            self.manifest = dict(json.loads(path.read_bytes()))
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: damaged: {first_line(error)}") from None
        check_same_run(out, self.manifest, manifest, "--out")

    @property
    def finished_rows(self) -> int:
        """Rows that are done and saved, in complete and incomplete parts."""
        complete = sum(len(self.rows_of(part)) for part in self.parts)
        return complete + sum(len(self.saved(part)) for part in self.begun)

    def rows_of(self, part: int) -> range:
        return range(part * PART_ROWS, min((part + 1) * PART_ROWS, self.count))

    def saved(self, part: int) -> dict[int, dict[str, Any]]:
        """The cells of a part's finished rows, by their index in it; none if the file is
        damaged."""
        try:
            table = pq.read_table(self.open_file(part), columns=list(FOUND))
        except (OSError, pa.ArrowException):
            return {}
        return {i: row for i, row in enumerate(table.to_pylist()) if row["inverted"] is not None}

    def save_rows(self, part: int, table: pa.Table, complete: bool = False) -> None:
        """Save what is done of a part. A UserError if it cannot be written."""
        buffer = pa.BufferOutputStream()
        pq.write_table(table, buffer)
        self.write(part, memoryview(buffer.getvalue()), complete)

    def show(self) -> None:
        """Print the share of exact texts, the cosines, and rows at even distances."""
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
        console.print(f"{'cosine':>14}  {'rows':>9}", style="dim")
        for low, high, rows in zip(BINS, BINS[1:], histogram.tolist(), strict=False):
            bar = "█" * round(BAR * rows / shown)
            console.print(f"{f'{low:g} to {high:g}':>14}  {rows:>9,}  {bar}")
        for row in samples:
            fact = f"[dim]{escape(str(row['id']))}  {row['cosine'] or 0:.4f}[/dim]"
            console.print(f"{fact}  {escape(row['error'] or row['inverted'])}", soft_wrap=True)


def settings_of(source: Store, count: int, options: SearchOptions) -> dict[str, Any]:
    """The settings of a manifest that are known before the inverter is loaded."""
    file = {"name": source.name, "fingerprint": source.fingerprint}
    asked = (options.search, options.effort, str(options.budget), options.beam)
    settings = {"source": file, "rows": count, "ids": source.ids, "part": PART_ROWS}
    return settings | dict(zip(("search", "effort", "budget", "beam"), asked, strict=True))


def finished_folder(out: Path, settings: dict[str, Any], request: str) -> RunFolder | None:
    """The folder if it holds the whole run of this `request`. A UserError if it holds another."""
    if not (out / MANIFEST).is_file():
        return None
    folder = RunFolder(out, settings["rows"], settings)
    same = request and folder.manifest.get("request") == request
    return None if folder.missing or not same else folder


def request_of(options: Mapping[str, Any], models: Sequence[str | None]) -> str:
    """A hash of a command's options that change the results, and of its models, the inverter first;
    empty if the inverter has no files on this machine. A model without files counts by its name."""
    facts: list[Any] = [sorted(options.items())]
    for name in models:
        folder = locate(re.split("[#?]", name or "")[0])
        paths = sorted(path for path in folder.rglob("*") if path.is_file()) if name else []
        files = [(str(path.relative_to(folder)), file_fingerprint(path)) for path in paths]
        if name is models[0] and not files:
            return ""
        facts.append(files or name)
    return digest(*facts)


class BulkRun:
    """The run of a store, or of its first `limit` rows, into a folder, part by part. It continues
    one that is there. A UserError if the vectors have another dimension than the embedder's, or the
    folder cannot be written or holds another run."""

    def __init__(
        self,
        inverter: Inverter,
        source: Store,
        out: Path,
        limit: int | None = None,
        request: str = "",
    ):
        self.remarks = look_at(source, inverter)
        self._inverter, self._source = inverter, source
        self.count = min(source.count, limit or source.count)
        settings = settings_of(source, self.count, inverter.options)
        defence = inverter.defence
        manifest = settings | {
            "inverter": {"name": inverter.embedder.name, "fingerprint": inverter.fingerprint()},
            "defence": getattr(defence, "__qualname__", defence and type(defence).__qualname__),
            "rounds": inverter.rounds,
        }
        self.folder = RunFolder(out, self.count, manifest, request)

    def finish(self) -> None:
        """Invert until all parts are complete, also those of other processes. Print a summary."""
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
            seal(folder.out)
            folder.show()

    def invert_part(self, part: int, tick: Tick) -> None:
        """Invert the rows of a part that are not saved yet, and write it."""
        numbers = self.folder.rows_of(part)
        stored = self._source.read(numbers.start, numbers.stop)
        rows = OpenRows(stored, self._source.integer_ids, self.folder.saved(part))
        expect = estimate(self._inverter, tick)
        unsaved, last = 0, time.monotonic()

        def on_round(i: int, best: Round) -> None:
            nonlocal unsaved, last
            if unsaved and time.monotonic() - last >= SAVE_SECONDS:
                self.folder.save_rows(part, rows.table())
                unsaved, last = 0, time.monotonic()
                tick(self.folder.finished_rows - tick.done)  # also those of other processes
            expect(i, best)

        for _ in rows.invert(self._inverter, on_round):
            unsaved += 1
            tick()
        self.folder.save_rows(part, rows.table(), complete=True)
        tick(self.folder.finished_rows - tick.done)


class OpenRows:
    """Rows of a store to invert; `saved` holds the cells of those that are done, by index."""

    def __init__(
        self, rows: Rows, integer_ids: bool, saved: Mapping[int, dict[str, Any]] | None = None
    ):
        saved = saved or {}
        self._rows, self._integer_ids = rows, integer_ids
        heads = ({"id": id_, "error": rows.errors.get(i)} for i, id_ in enumerate(rows.ids))
        self._cells = [head | saved.get(i, {}) for i, head in enumerate(heads)]
        self._open = [i for i in range(len(rows.ids)) if i not in rows.errors and i not in saved]

    def invert(self, inverter: Inverter, on_round: OnRound | None = None) -> Iterator[None]:
        """Invert the rows that are not done; yields after each."""
        vectors = self._rows.vectors[self._open]
        for i, found in inverter.stream(vectors, on_round=on_round):
            self._cells[self._open[i]] |= cells_of(found)
            yield

    def table(self) -> pa.Table:
        """All rows; those that are not done have neither text nor error."""
        return as_table(self._cells, self._integer_ids)


def cells_of(found: Inversion) -> dict[str, Any]:
    """The cells of an inversion, by column."""
    counts = len(found.rounds) - 1, found.embedder_calls
    return dict(zip(FOUND, (found.text, found.cosine, found.stopped, *counts), strict=True))


def as_table(rows: Sequence[dict[str, Any]], integer_ids: bool) -> pa.Table:
    """A table with the columns id, those of :data:`FOUND`, and error; null where a row has none."""
    id_ = pa.int64() if integer_ids else pa.string()
    return pa.Table.from_pylist(list(rows), pa.schema({"id": id_} | FOUND | {"error": pa.string()}))


def look_at(source: Store, inverter: Inverter) -> list[str]:
    """Facts about a store's vectors, from its first rows. A UserError if the dimension is wrong."""
    from nanov2t.targets import describe_vectors

    embedder = inverter.embedder
    source.expect(embedder.dim, embedder.name)
    rows = source.read(0, min(source.count, HEAD))
    vectors = np.delete(rows.vectors, list(rows.errors), axis=0)
    remarks = [f"{source.count:,} vectors", f"{source.dim} dimensions", source.kind]
    doubt = inverter.alignment.doubt(vectors) if inverter.alignment else ""
    return [*remarks, *describe_vectors(vectors, embedder.info), *filter(None, [doubt])]
