"""The folder of a bulk run: its manifest, its parts, and the rows of parts that are not finished.

A part holds a fixed range of rows. It is written aside and renamed, so one that exists is complete.
Until then, a hidden file keeps those of its rows that are done. Every process takes the next part
whose lock is free, and the system frees the locks of a process that dies, so the others take over
what it had begun.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from nanov2t.bulk.table import cells_done
from nanov2t.core.errors import UserError, first_line
from nanov2t.core.files import digest, make_folder, write_whole
from nanov2t.core.manifest import check_same_run
from nanov2t.models.hub import locate
from nanov2t.pretrained import BUNDLED
from nanov2t.search.options import Budget
from nanov2t.stores.base import Store, file_fingerprint

MANIFEST = "_manifest.json"
PART_ROWS = 1024
"""Rows of a part: so many that the batches at its end, which are not full, cost little."""


class RunFolder:
    """A folder with `_manifest.json`, which says what it is a run of, and `part-*.parquet`.

    Args:
        out: the folder; it is made if there is none.
        count: rows of the whole run.
        manifest: the settings that decide what is written.
        request: of :func:`request_of`, by which :func:`finished_folder` knows the run again.

    Raises:
        UserError: the folder cannot be written, or holds another run.
    """

    def __init__(self, out: Path, count: int, manifest: dict[str, Any], request: str = ""):
        self.out, self.count = out, count
        path = out / MANIFEST
        make_folder(out)
        with self._writing():
            if not path.exists():
                with FileLock(out / "._manifest.lock"):
                    if not path.exists():
                        content = json.dumps(manifest | {"request": request}, indent=2)
                        write_whole(path, content.encode())
        check_same_run(out, _read_manifest(out), manifest, "--out")

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
        """Rows that are done and saved, in parts that exist and in those that do not yet."""
        parts = self.parts
        open_parts = {
            int(path.stem.removeprefix(".part-")) for path in self.out.glob(".part-*.open")
        }
        return sum(len(self.rows_of(part)) for part in parts) + sum(
            len(self.saved(part)) for part in open_parts - parts.keys()
        )

    def rows_of(self, part: int) -> range:
        """The rows that a part holds."""
        return range(part * PART_ROWS, min((part + 1) * PART_ROWS, self.count))

    @contextmanager
    def claim(self, part: int) -> Iterator[bool]:
        """Whether the part is this process's to do: no other one is at it, nor has done it."""
        lock = FileLock(self.out / f".part-{part:08d}.lock")
        with self._writing(), suppress(Timeout):
            if not self._path(part).exists():
                lock.acquire(blocking=False)
        try:
            yield lock.is_locked and not self._path(part).exists()
        finally:
            lock.release()

    def write(self, part: int, table: pa.Table) -> None:
        """Write a finished part, which takes the place of its saved rows.

        Raises:
            UserError: it cannot be written.
        """
        with self._writing():
            _write(self._path(part), table)
            self._saved(part).unlink(missing_ok=True)

    def save(self, part: int, table: pa.Table) -> None:
        """Save a part some of whose rows are not done yet; these have neither text nor error.

        Raises:
            UserError: it cannot be written.
        """
        with self._writing():
            _write(self._saved(part), table)

    def saved(self, part: int) -> dict[int, dict[str, Any]]:
        """What was saved of a part that is not finished: the cells of each row that is done, by its
        place in the part. Rows that cannot be read are done again."""
        try:
            return cells_done(pq.read_table(self._saved(part)))
        except (OSError, pa.ArrowException):
            return {}

    def tidy(self) -> None:
        """Remove what killed processes left behind; only once nothing is missing."""
        with self._writing():
            for path in [*self.out.glob(".*part-*"), *self.out.glob("._manifest*")]:
                path.unlink(missing_ok=True)

    def _path(self, part: int) -> Path:
        return self.out / f"part-{part:08d}.parquet"

    def _saved(self, part: int) -> Path:
        return self.out / f".part-{part:08d}.open"

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Turns what the file system refuses into one line."""
        try:
            yield
        except OSError as error:
            said = f"{self.out}: cannot be written: {error.strerror or error}"
            if self.finished_rows:
                said += "; what is finished stays, and the same command goes on from there"
            raise UserError(said) from None


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
    """The folder, if it holds the whole of the run that is asked for. The inverter is not needed,
    so this takes no time; a run that was asked for in other words is not recognised.

    Args:
        settings: of :func:`settings_of`, and others of a manifest.
        request: as of :class:`RunFolder`.

    Raises:
        UserError: the folder holds a run with other settings.
    """
    if not (out / MANIFEST).is_file():
        return None
    folder = RunFolder(out, settings["rows"], settings)
    same = request and _read_manifest(out).get("request") == request
    return None if folder.missing or not same else folder


def request_of(options: Mapping[str, Any], models: Sequence[str | None]) -> str:
    """A hash of how a run is asked for.

    Args:
        options: all that decide what is written, other than the models and the source.
        models: the inverter's name, then those of other models or None. Those in folders are known
            by their files, wherever they lie, others by their names.

    Returns:
        An empty string if the inverter's files cannot be found without loading it.
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


def _read_manifest(out: Path) -> dict[str, Any]:
    """The settings of the run in a folder.

    Raises:
        UserError: they cannot be read.
    """
    path = out / MANIFEST
    try:
        return dict(json.loads(path.read_bytes()))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: damaged: {first_line(error)}") from None


def _write(path: Path, table: pa.Table) -> None:
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer)
    write_whole(path, memoryview(buffer.getvalue()))
