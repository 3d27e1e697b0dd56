"""Files of SQLite: columns of blobs, and the tables of sqlite-vec."""

from __future__ import annotations

import re
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nanov2t.core.errors import UserError
from nanov2t.stores.base import Fetched, Store, digest, file_fingerprint, pick
from nanov2t.stores.text import holds_numbers, parse_vector

VECTORS = re.compile(r"(\w+)\s+(float|int8|bit)\[(\d+)\]", re.IGNORECASE)
"""Columns in what makes a table of sqlite-vec's."""
VEC0 = re.compile(r"USING\s+VEC0\b", re.IGNORECASE)
KINDS = {"float": "float32", "int8": "int8", "bit": "bits"}
USUAL_SIZES = 1e-15, 1e6
"""Of numbers in vectors. Halves of float64 taken for float32 are mostly smaller or larger, and so
are pairs of float32 taken for float64."""
LOOKED_AT = 16
"""Blobs of a column, to tell what is in them."""


@dataclass(frozen=True)
class Column:
    """A column of vectors."""

    kind: str
    """Of its numbers, or `text`."""
    cells: str
    """SQL of a vector."""
    source: str
    """SQL of the rows, in their order."""
    ids: tuple[tuple[str, str], ...]
    """What ids may be taken from, and the SQL of it."""


class SqliteStore(Store):
    """A column of blobs, of float32 as most tools write them or of float64, or of strings that hold
    lists; or of a table of sqlite-vec's, whose extension is not needed."""

    suffixes = (".db", ".sqlite", ".sqlite3")
    forms = ("x.db#TABLE.COLUMN", "x.sqlite#TABLE.COLUMN")
    takes_ids = True

    def __init__(self, where: str, key: str, ids: str | None):
        self.path, self.ids = Path(where), ids
        check_size(self.path)
        self._db = db = connect(self.path)
        self._version = self._version_now()
        columns = _columns(db)
        # A table alone will do where it has one such column, or one of a usual name.
        meant = {n: c for n, c in columns.items() if not key or f"{n}.".startswith(f"{key}.")}
        key = pick(where, "" if meant else key, meant or columns)
        self.column = columns[key]
        known = dict(self.column.ids)
        if ids and ids not in known:
            raise UserError(f"{where}: no column {ids}, only {', '.join(known)}")
        self._id = known[ids] if ids else "NULL"
        [count] = db.execute(f"SELECT count(*) FROM {self.column.source}").fetchone()
        all_ids = f"SELECT {self._id} AS id FROM {self.column.source}"
        other = f"SELECT 1 FROM ({all_ids}) WHERE typeof(id) <> 'integer' LIMIT 1"
        integers = not ids or db.execute(other).fetchone() is None
        files = [p for p in (self.path, self.path.with_name(f"{self.path.name}-wal")) if p.exists()]
        fingerprint = digest(*map(file_fingerprint, files))
        self.describe(f"{where}#{key}", self.column.kind, count, fingerprint, integers)

    def fetch(self, start: int, stop: int) -> Fetched:
        # A query that stays open would keep others from writing; so what they write is noticed.
        if self._version_now() != self._version:
            raise ValueError("it changed while it was read")
        query = f"SELECT {self._id}, {self.column.cells} FROM {self.column.source}"
        rows = self._db.execute(f"{query} LIMIT ? OFFSET ?", (stop - start, start)).fetchall()
        ids = [id_ for id_, _ in rows] if self.ids else range(start, start + len(rows))
        return ids, [self._vector(cell) for _, cell in rows]

    def _version_now(self) -> Any:
        return self._db.execute("PRAGMA data_version").fetchone()

    def _vector(self, cell: Any) -> Any:
        if cell is None:
            return None
        if isinstance(cell, str):
            return parse_vector(cell)
        kind = np.dtype("float32" if self.column.kind == "text" else self.column.kind)
        if not isinstance(cell, bytes) or len(cell) % kind.itemsize:
            return f"neither a blob of {kind} nor a list of numbers"
        return np.frombuffer(cell, kind)


def connect(path: Path) -> sqlite3.Connection:
    """A database, to be read only."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)


def check_size(path: Path) -> None:
    """Refuse a file of SQLite that was cut short, which it would not notice before it meets what
    is missing.

    Raises:
        ValueError: it was.
    """
    with open(path, "rb") as file:
        header = file.read(100)
    page_size, pages = int.from_bytes(header[16:18]), int.from_bytes(header[28:32])
    page_size = 65536 if page_size == 1 else page_size
    if path.stat().st_size < max(100, pages * page_size):
        raise ValueError(f"{path.name} was cut short")


def _columns(db: sqlite3.Connection) -> dict[str, Column]:
    """The columns that hold vectors, by `TABLE.COLUMN`."""
    found: dict[str, Column] = {}
    tables = dict(db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'"))
    extensions = [
        name for name, sql in tables.items() if "USING VEC0" in " ".join(sql.upper().split())
    ]
    for table, sql in tables.items():
        if table in extensions:
            found |= _extension_columns(table, sql)
        elif not any(table.startswith(f"{name}_") for name in extensions):
            found |= _plain_columns(db, table)
    return found


def _plain_columns(db: sqlite3.Connection, table: str) -> dict[str, Column]:
    """Those of a table whose first cells are blobs of whole floats, or strings that hold lists."""
    source = f"{_quoted(table)} NOT INDEXED"
    names = [row[1] for row in db.execute(f"PRAGMA table_info({_quoted(table)})")]
    ids = tuple((name, _quoted(name)) for name in names)
    found = {}
    for name in names:
        cells = _quoted(name)
        query = f"SELECT {cells} FROM {source} WHERE {cells} IS NOT NULL LIMIT {LOOKED_AT}"
        first = [cell for [cell] in db.execute(query)]
        if first and (kind := _kind(first)):
            found[f"{table}.{name}"] = Column(kind, cells, source, ids)
    return found


def _kind(cells: list[Any]) -> str:
    """What the cells of a column hold: `float32`, `float64`, `text`, or nothing of use."""
    if isinstance(cells[0], str):
        return "text" if holds_numbers(cells[0]) else ""
    if not isinstance(cells[0], bytes) or not cells[0] or len(cells[0]) % 4:
        return ""
    blobs = [cell for cell in cells if isinstance(cell, bytes)]
    return "float64" if _usual(blobs, "float64") > 0.9 > _usual(blobs, "float32") else "float32"


def _usual(blobs: list[bytes], kind: str) -> float:
    """The share of the numbers in blobs, as they read in a kind of float, that are of a usual
    size."""
    size = np.dtype(kind).itemsize
    numbers = np.frombuffer(b"".join(blob for blob in blobs if len(blob) % size == 0), kind)
    low, high = USUAL_SIZES
    with np.errstate(invalid="ignore"):
        usual = (numbers == 0) | ((np.abs(numbers) > low) & (np.abs(numbers) < high))
    return float(usual.mean()) if len(numbers) else 0.0


def _extension_columns(table: str, sql: str) -> dict[str, Column]:
    """Those of a table of sqlite-vec's, which keeps the vectors of 1,024 rows in a blob."""
    primary = re.search(r"(\w+)\s+(?:integer|text)\s+primary\s+key", sql, re.IGNORECASE)
    ids = ((primary[1] if primary else "rowid", "coalesce(r.id, r.rowid)"),)
    found = {}
    for i, (name, kind, dim) in enumerate(VECTORS.findall(sql)):
        size = int(dim) * {"float": 4, "int8": 1, "bit": 1}[kind.lower()]
        source = (
            f"{_quoted(f'{table}_rowids')} r LEFT JOIN {_quoted(f'{table}_vector_chunks{i:02}')} v"
            " ON v.rowid = r.chunk_id ORDER BY r.rowid"
        )
        cells = f"substr(v.vectors, r.chunk_offset * {size} + 1, {size})"
        found[f"{table}.{name}"] = Column(KINDS[kind.lower()], cells, source, ids)
    return found


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
