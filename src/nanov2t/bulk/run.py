"""Whole stores inverted into a folder of Parquet files, by any number of processes, killed at any
moment.

The rows are divided into parts of fixed ranges. A part is written aside and renamed, so one that
exists is whole; a run does the parts that do not exist. Every process takes the next part whose
lock is free, and the system frees the locks of a process that dies, so the others take over what it
had begun. Each part is a search of its own, so its rows are the same whoever does it and whatever
happened before.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from filelock import FileLock, Timeout

from nanov2t.bulk.progress import Progress
from nanov2t.core.errors import UserError
from nanov2t.inverter import Inverter
from nanov2t.stores.base import HEAD, Rows, Store, digest
from nanov2t.targets import describe_vectors

PART = 1024
"""Rows of a part: small enough that a kill costs little, large enough that its last, ever emptier
batches do too."""


def local_device() -> str:
    """This process's own GPU under torchrun; the first one, or the CPU, without."""
    if not torch.cuda.is_available():
        return "cpu"
    return f"cuda:{int(os.environ.get('LOCAL_RANK', 0)) % torch.cuda.device_count()}"


def invert_source(
    inverter: Inverter,
    source: Store,
    out: Path,
    rounds: int | None,
    beam: int,
    limit: int | None = None,
) -> None:
    """Invert a source into `out`, or go on with it; returns when all parts exist, be they others'
    work.

    Raises:
        UserError: the vectors are not the inverter's embedder's, `out` cannot be written, or holds
            another run.
    """
    if source.dim != inverter.embedder.dim:
        raise UserError(
            f"{source.name}: vectors of {source.dim} dimensions, but {inverter.embedder.name} "
            f"makes "
            f"{inverter.embedder.dim}"
        )
    remarks = _remarks(source, inverter)
    count = min(source.count, limit or source.count)
    rounds = inverter.default_rounds if rounds is None else rounds
    run = Run(
        out,
        count,
        {
            "source": {"name": source.name, "fingerprint": source.fingerprint},
            "inverter": {"name": inverter.embedder.name, "fingerprint": fingerprint(inverter)},
            "rows": count,
            "ids": source.ids,
            "search": inverter.search,
            "rounds": rounds,
            "beam": beam,
            "part": PART,
        },
    )
    first = os.environ.get("RANK", "0") == "0"
    with Progress(count, PART, run.whole, shown=first) as progress:
        progress.say(f"{source.name}: {', '.join(remarks)}")
        while missing := run.missing():
            waiting = True
            for part in missing:
                with run.claim(part) as mine:
                    if mine:
                        waiting = False
                        rows = source.read(part * PART, min((part + 1) * PART, count))
                        table = invert_rows(
                            inverter,
                            rows,
                            source.integer_ids,
                            rounds,
                            beam,
                            progress.row,
                        )
                        run.write(part, table)
                        progress.parts()
            if (
                waiting
            ):  # the rest is being done by others; should one of them die, its part becomes free
                time.sleep(1)
                progress.parts()
    if first:
        run.tidy()
        progress.summary()


def invert_rows(
    inverter: Inverter,
    rows: Rows,
    integer_ids: bool,
    rounds: int,
    beam: int,
    on_row: Callable[[], None] = lambda: None,
) -> pa.Table:
    """Rows inverted: a table with the columns id, inverted, cosine, stopped, rounds, embedder_calls
    and error."""
    good = [i for i in range(len(rows.ids)) if i not in rows.errors]
    cells: list[dict[str, Any]] = [
        {"id": id_, "error": rows.errors.get(i)} for i, id_ in enumerate(rows.ids)
    ]
    for i, found in inverter.stream(rows.vectors[good], rounds, beam):
        cells[good[i]] |= {
            "inverted": found.text,
            "cosine": found.cosine,
            "stopped": found.stopped,
            "rounds": len(found.rounds) - 1,
            "embedder_calls": found.embedder_calls,
        }
        on_row()
    return pa.Table.from_pylist(
        cells,
        pa.schema(
            [
                ("id", pa.int64() if integer_ids else pa.string()),
                ("inverted", pa.string()),
                ("cosine", pa.float64()),
                ("stopped", pa.string()),
                ("rounds", pa.int32()),
                ("embedder_calls", pa.int32()),
                ("error", pa.string()),
            ]
        ),
    )


def fingerprint(inverter: Inverter) -> str:
    """A hash of all that decides what an inverter writes: its weights and its embedder."""
    generators = [g for g in (inverter.hypothesizer, inverter.corrector) if g is not None]
    weights = (
        weight.cpu().view(torch.uint8).numpy().tobytes()
        for generator in generators
        for weight in generator.unique_weights().values()
    )
    return digest(inverter.embedder.info.fingerprint, *weights)


def _remarks(source: Store, inverter: Inverter) -> list[str]:
    """What is to be said of the vectors of a source, by its first rows."""
    rows = source.read(0, min(source.count, HEAD))
    vectors = np.delete(rows.vectors, list(rows.errors), axis=0)
    remarks = [f"{source.count:,} vectors", f"{source.dim} dimensions", source.kind]
    return remarks + describe_vectors(vectors, inverter.embedder.info)


class Run:
    """The folder of a run: `_manifest.json`, which says what it is a run of, and its parts.

    Raises:
        UserError: the folder cannot be written, or holds another run.
    """

    def __init__(self, out: Path, count: int, manifest: dict[str, Any]):
        self.out, self.count = out, count
        path = out / "_manifest.json"
        with self._writing():
            if not path.exists():
                out.mkdir(parents=True, exist_ok=True)
                with FileLock(out / "._manifest.lock"):
                    if not path.exists():
                        self._replace(path, json.dumps(manifest, indent=2).encode())
            try:
                before = json.loads(path.read_bytes())
            except ValueError as error:
                raise UserError(f"{path}: damaged: {error}") from None
        for key, value in manifest.items():
            if _identity(before.get(key)) != _identity(value):
                raise UserError(
                    f"{out} holds a run with another {key} ({_show(before.get(key))}, not "
                    f"{_show(value)}): "
                    "choose another --out, or delete it"
                )

    def whole(self) -> dict[int, Path]:
        """The parts that exist, by number."""
        return {
            int(path.stem.removeprefix("part-")): path
            for path in self.out.glob(f"part-{'[0-9]' * 8}.parquet")
        }

    def missing(self) -> list[int]:
        return sorted(set(range(-(-self.count // PART))) - set(self.whole()))

    @contextmanager
    def claim(self, part: int) -> Iterator[bool]:
        """Whether the part is this process's to do: no other one is at it, nor has done it."""
        lock = FileLock(self.out / f".part-{part:08d}.lock")
        with self._writing(), suppress(Timeout):
            lock.acquire(blocking=False)
        try:
            yield lock.is_locked and not self._path(part).exists()
        finally:
            lock.release()

    def write(self, part: int, table: pa.Table) -> None:
        buffer = pa.BufferOutputStream()
        pq.write_table(table, buffer)
        with self._writing():
            self._replace(self._path(part), buffer.getvalue())

    def tidy(self) -> None:
        """Remove what killed processes left behind; only once nothing is missing."""
        with self._writing():
            for path in [*self.out.glob(".part-*"), *self.out.glob("._manifest*")]:
                path.unlink(missing_ok=True)

    def _path(self, part: int) -> Path:
        return self.out / f"part-{part:08d}.parquet"

    def _replace(self, path: Path, content) -> None:
        aside = path.with_name(f".{path.name}-{socket.gethostname()}-{os.getpid()}")
        try:
            with open(aside, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            aside.rename(path)
        except OSError:
            aside.unlink(missing_ok=True)
            raise

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(
                f"{self.out}: {error.strerror or error}; what is finished stays, and the same "
                f"command "
                "goes on from there"
            ) from None


def _identity(value: Any) -> Any:
    # Files and folders may have been moved: what is in them counts, not their name.
    return value["fingerprint"] if isinstance(value, dict) else value


def _show(value: Any) -> str:
    return f"{value['name']} {value['fingerprint']}" if isinstance(value, dict) else str(value)
