"""The folder of a bulk run: its manifest, and its parts.

A part holds a fixed range of rows. It is written aside and renamed, so one that exists is complete.
Every process takes the next part whose lock is free, and the system frees the locks of a process
that dies, so the others take over what it had begun.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from nanov2t.core.errors import UserError
from nanov2t.core.files import write_whole
from nanov2t.core.manifest import check_same_run

PART_ROWS = 1024
"""Rows of a part: small enough that a kill costs little, large enough that its last, ever emptier
batches do too."""


class RunFolder:
    """A folder with `_manifest.json`, which says what it is a run of, and `part-*.parquet`.

    Args:
        out: the folder; it is made if there is none.
        count: rows of the whole run.
        manifest: the settings that decide what is written.

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
                        write_whole(path, json.dumps(manifest, indent=2).encode())
            content = path.read_bytes()
        try:
            before = json.loads(content)
        except ValueError as error:
            raise UserError(f"{path}: damaged: {error}") from None
        check_same_run(out, before, manifest, "--out")

    @property
    def parts(self) -> dict[int, Path]:
        """The parts that exist, by number in ascending order."""
        paths = sorted(self.out.glob(f"part-{'[0-9]' * 8}.parquet"))
        return {int(path.stem.removeprefix("part-")): path for path in paths}

    @property
    def missing(self) -> list[int]:
        """The numbers of the parts that do not exist yet."""
        return sorted(set(range(-(-self.count // PART_ROWS))) - set(self.parts))

    @property
    def finished_rows(self) -> int:
        """Rows of the parts that exist."""
        return sum(len(self.rows_of(part)) for part in self.parts)

    def rows_of(self, part: int) -> range:
        """The rows that a part holds."""
        return range(part * PART_ROWS, min((part + 1) * PART_ROWS, self.count))

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
        """Write a part.

        Raises:
            UserError: it cannot be written.
        """
        buffer = pa.BufferOutputStream()
        pq.write_table(table, buffer)
        with self._writing():
            write_whole(self._path(part), memoryview(buffer.getvalue()))

    def tidy(self) -> None:
        """Remove what killed processes left behind; only once nothing is missing."""
        with self._writing():
            for path in [*self.out.glob(".part-*"), *self.out.glob("._manifest*")]:
                path.unlink(missing_ok=True)

    def _path(self, part: int) -> Path:
        return self.out / f"part-{part:08d}.parquet"

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Turns what the file system refuses into one line."""
        try:
            yield
        except OSError as error:
            raise UserError(
                f"{self.out}: {error.strerror or error}; what is finished stays, and the same "
                "command goes on from there"
            ) from None
