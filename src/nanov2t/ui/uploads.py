"""Files of vectors that visitors upload, and the inversion of their rows."""

from __future__ import annotations

import base64
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from nanov2t.bulk.run import look_at
from nanov2t.bulk.table import as_table, cells_of
from nanov2t.core.errors import UserError
from nanov2t.search.options import Effort
from nanov2t.search.state import Inversion
from nanov2t.stores.base import Rows
from nanov2t.stores.choosing import Choice
from nanov2t.stores.registry import names_in, open_source
from nanov2t.ui.desk import Desk
from nanov2t.ui.drawing import download, note, progress, rows_drawn


@dataclass(frozen=True)
class Look:
    """What a file holds."""

    remark: str
    """A description, as HTML."""
    names: list[str]
    """The columns or keys of its vectors."""
    chosen: str | None
    """The name in use; None if the visitor must choose."""


class Uploads:
    """Keeps one file for each visitor, until the visitor uploads another or leaves."""

    def __init__(self, desk: Desk):
        self.desk = desk
        self._files: dict[str, tuple[Path, Path]] = {}

    def keep(self, visitor: str, path: Path) -> None:
        """Keep an uploaded file for this visitor alone. The server gives the same path to all who
        upload the same file, so this links it to a path of its own."""
        ours = Path(tempfile.mkdtemp(dir=path.parent.parent)) / path.name
        os.link(path, ours)
        self.forget(visitor)
        self._files[visitor] = ours, path

    def forget(self, visitor: str) -> None:
        """Delete the visitor's file if there is one."""
        for path in self._files.pop(visitor, ()):
            shutil.rmtree(path.parent, ignore_errors=True)

    def look(self, visitor: str, name: str | None = None) -> Look:
        """What the visitor's file holds under a column or key.

        Raises:
            UserError: it holds no vectors of the embedder's dimension.
        """
        with self._file(visitor) as path:
            try:
                source = open_source(_spec(path, name))
            except Choice as choice:
                if name:
                    raise
                return Look(note(_said(choice, path)), choice.names, None)
            remarks = ", ".join(look_at(source, self.desk.inverter))
            chosen = source.name.removeprefix(str(path)).removeprefix("#")
            return Look(note(f"{_said(source.name, path)}: {remarks}"), names_in(path), chosen)

    def run(
        self, visitor: str, name: str | None, first: int, count: int, effort: Effort, stop: Event
    ) -> Iterator[tuple[str, str, str]]:
        """Invert at most `count` rows of the visitor's file from row `first` on. After each round
        of each row, yield the status, the rows and the downloads as HTML, until all rows are done
        or `stop` is set.

        Raises:
            UserError: as :meth:`look`; or there is no such row.
        """
        rows, integer_ids = self._read(visitor, name, first, count)
        done: list[dict[str, Any]] = []
        shown = "", ""
        for i, id_ in enumerate(rows.ids):
            cells: dict[str, Any] = {"id": id_, "error": rows.errors.get(i)}
            said = f"Row {i + 1} of {len(rows.ids)}"
            yield progress(i, len(rows.ids), f"{said} …"), *shown
            searching = [] if i in rows.errors else self.desk.search(rows.vectors[i], effort, stop)
            for item in searching:
                if isinstance(item, Inversion):
                    cells |= cells_of(item)
                else:
                    status = f"{said}, round {item.round}, cosine {item.cosine:.4f} …"
                    yield progress(i, len(rows.ids), status), *shown
            if stop.is_set() and "inverted" not in cells:
                break
            done.append(cells)
            shown = rows_drawn(done), _downloads(as_table(done, integer_ids))
        exact = sum(cells.get("stopped") == "exact" for cells in done)
        end = "Stopped. " if stop.is_set() else ""
        yield note(f"{end}{len(done)} rows are done, {exact} of them exact."), *shown

    def _read(self, visitor: str, name: str | None, first: int, count: int) -> tuple[Rows, bool]:
        with self._file(visitor) as path:
            source = open_source(_spec(path, name))
            look_at(source, self.desk.inverter)
            if not 0 <= first < source.count:
                raise UserError(f"{source.name}: has no row {first}, only {source.count:,} rows")
            return source.read(first, min(first + count, source.count)), source.integer_ids

    @contextmanager
    def _file(self, visitor: str) -> Iterator[Path]:
        """The visitor's file. Errors in the block name the file without its folder."""
        if visitor not in self._files:
            raise UserError("no file yet")
        path, _ = self._files[visitor]
        try:
            yield path
        except UserError as error:
            raise UserError(_said(error, path)) from None


def _said(what: UserError | str, path: Path) -> str:
    """A message without the folder of the file, which the visitor does not know."""
    return str(what).replace(f"{path.parent}{os.sep}", "")


def _spec(path: Path, name: str | None) -> str:
    return f"{path}#{name}" if name else str(path)


def _downloads(table: pa.Table) -> str:
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer)
    parquet = base64.b64encode(buffer.getvalue()).decode()
    text = json.dumps(table.to_pylist(), ensure_ascii=False, indent=2)
    as_json = base64.b64encode(text.encode()).decode()
    return download("inverted.parquet", "application/vnd.apache.parquet", parquet) + download(
        "inverted.json", "application/json", as_json
    )
