"""Files of vectors that visitors upload, and the inversion of their rows."""

from __future__ import annotations

import base64
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from nanov2t.bulk.run import as_table, cells_of, look_at
from nanov2t.core.errors import UserError
from nanov2t.search.options import Effort
from nanov2t.search.state import Inversion
from nanov2t.stores.registry import names_in, open_source
from nanov2t.stores.values import Choice
from nanov2t.ui.desk import Desk
from nanov2t.ui.drawing import DRAW


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

    def look(self, visitor: str, name: str | None = None) -> tuple[str, list[str], str | None]:
        """What the visitor's file holds under a column or key: a description as HTML, the columns
        or keys of its vectors, and the one in use; None if the visitor must choose. A UserError if
        it holds no vectors of the embedder's dimension."""
        with self._file(visitor) as path:
            try:
                source = open_source(f"{path}#{name}" if name else str(path))
            except Choice as choice:
                if name:
                    raise
                return DRAW.note(_said(choice, path)), choice.names, None
            said = f"{_said(source.name, path)}: {', '.join(look_at(source, self.desk.inverter))}"
            chosen = source.name.removeprefix(str(path)).removeprefix("#")
            return DRAW.note(said), names_in(path), chosen

    def run(
        self, visitor: str, name: str | None, first: int, count: int, effort: Effort, stop: Event
    ) -> Iterator[tuple[str, str, str]]:
        """Invert at most `count` rows of the visitor's file from row `first` on. After each round
        of each row, yield the status, the rows and the downloads as HTML, until all rows are done
        or `stop` is set. A UserError as of :meth:`look`, or if there is no such row."""
        with self._file(visitor) as path:
            source = open_source(f"{path}#{name}" if name else str(path))
            look_at(source, self.desk.inverter)
            if not 0 <= first < source.count:
                raise UserError(f"{source.name}: has no row {first}, only {source.count:,} rows")
            rows = source.read(first, min(first + count, source.count))
        done: list[dict[str, Any]] = []
        shown = "", ""
        for i, id_ in enumerate(rows.ids):
            cells: dict[str, Any] = {"id": id_, "error": rows.errors.get(i)}
            said = f"Row {i + 1} of {len(rows.ids)}"
            yield DRAW.progress(i, len(rows.ids), f"{said} …"), *shown
            searching = [] if i in rows.errors else self.desk.search(rows.vectors[i], effort, stop)
            for item in searching:
                if isinstance(item, Inversion):
                    cells |= cells_of(item)
                else:
                    status = f"{said}, round {item.round}, cosine {item.cosine:.4f} …"
                    yield DRAW.progress(i, len(rows.ids), status), *shown
            if stop.is_set() and "inverted" not in cells:
                break
            done.append(cells)
            shown = DRAW.rows(done), _downloads(as_table(done, source.integer_ids))
        exact = sum(cells.get("stopped") == "exact" for cells in done)
        end = "Stopped. " if stop.is_set() else ""
        yield DRAW.note(f"{end}{len(done)} rows are done, {exact} of them exact."), *shown

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


def _downloads(table: pa.Table) -> str:
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer)
    text = json.dumps(table.to_pylist(), ensure_ascii=False, indent=2)
    files = (
        ("inverted.parquet", "application/vnd.apache.parquet", buffer.getvalue()),
        ("inverted.json", "application/json", text.encode()),
    )
    return "".join(DRAW.download(a, b, base64.b64encode(c).decode()) for a, b, c in files)
