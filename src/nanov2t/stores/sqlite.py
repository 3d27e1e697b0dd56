"""Files of SQLite: columns of blobs, and the tables of sqlite-vec."""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from nanov2t.core.errors import UserError
from nanov2t.core.files import digest
from nanov2t.stores.base import Fetched, Store, file_fingerprint
from nanov2t.stores.choosing import pick_column
from nanov2t.stores.values import LOOKED_AT, Decoder, decoder_of, why_not

VECTORS = re.compile(r"(\w+)\s+(float|int8|bit)\[(\d+)\]", re.IGNORECASE)
"""Columns in what makes a table of sqlite-vec's."""
VEC0 = re.compile(r"USING\s+VEC0\b", re.IGNORECASE)
SHADOWS = r"_(chunks|rowids|info|auxiliary|(vector_|metadata)chunks\d\d|metadatatext\d\d)"
"""What the names of the tables end with in which sqlite-vec keeps one of its own."""
KINDS = {"float": "float32", "int8": "int8", "bit": "uint8"}


@dataclass(frozen=True)
class Column:
    """A column of vectors."""

    decoder: Decoder
    cells: str
    """SQL of a vector."""
    source: str
    """SQL of the rows, in their order."""
    ids: tuple[tuple[str, str], ...]
    """What ids may be taken from, and the SQL of it."""
    why_not: str = ""
    """Why it is no column of vectors."""


class SqliteStore(Store):
    """A column of a table or view: blobs of numbers, or strings that hold lists; or one of a table
    of sqlite-vec's, whose extension is not needed."""

    suffixes = (".db", ".sqlite", ".sqlite3")
    forms = ("x.db#TABLE.COLUMN", "x.sqlite#TABLE.COLUMN")
    takes_ids = True

    def __init__(self, where: str, key: str, ids: str | None):
        path = Path(where)
        if path.name == "chroma.sqlite3":
            folder = path.parent
            raise UserError(f"{where}: a part of a Chroma folder: read chroma:{folder}#COLLECTION")
        fingerprint = digest(*map(file_fingerprint, [path, *_beside(path)]))
        self.ids = ids
        self._db = db = connect(path)
        self._version = self._version_now()
        columns = _columns(db)
        good = {name: column for name, column in columns.items() if not column.why_not}
        if not good or (key in columns and key not in good):
            meant = [(name, column) for name, column in columns.items() if key in ("", name)]
            said = [f": {name} is {column.why_not}" for name, column in meant[:5]]
            raise UserError(f"{where}: holds no vectors{''.join(said)}")
        key = pick_column(where, key, good)
        self.column = columns[key]
        known = dict(self.column.ids)
        if ids and ids not in known:
            raise UserError(f"{where}: no column {ids}, only {', '.join(known)}")
        self._id = known[ids] if ids else "NULL"
        [count] = db.execute(f"SELECT count(*) FROM {self.column.source}").fetchone()
        all_ids = f"SELECT {self._id} AS id FROM {self.column.source}"
        other = f"SELECT 1 FROM ({all_ids}) WHERE typeof(id) <> 'integer' LIMIT 1"
        integers = not ids or db.execute(other).fetchone() is None
        self.describe(f"{where}#{key}", self.column.decoder.kind, count, fingerprint, integers)

    def fetch(self, start: int, stop: int) -> Fetched:
        query = f"SELECT {self._id}, {self.column.cells} FROM {self.column.source}"
        rows = self._db.execute(f"{query} LIMIT ? OFFSET ?", (stop - start, start)).fetchall()
        # A query that stays open would keep others from writing; so what they write is noticed.
        if self._version_now() != self._version:
            raise ValueError("it changed while it was read")
        ids = [id_ for id_, _ in rows] if self.ids else range(start, start + len(rows))
        return ids, [self.column.decoder(cell) for _, cell in rows]

    def _version_now(self) -> Any:
        [(_, _, path)] = self._db.execute("PRAGMA database_list")
        return self._db.execute("PRAGMA data_version").fetchone(), Path(path).stat().st_mtime_ns


class _Connection(sqlite3.Connection):
    """A connection to a database in a folder that goes with it."""

    folder: TemporaryDirectory[str]


def connect(path: Path) -> sqlite3.Connection:
    """A database to be read, which leaves no trace in its folder.

    SQLite writes beside a database of which a part is still in another file, because a program has
    it open or was killed: there it is a copy that is read.

    Raises:
        ValueError: the file was cut short, or is none of SQLite's.
    """
    header = _checked_header(path)
    if beside := _beside(path):
        folder = copied([path, *beside], path.parent)
        connection = sqlite3.connect(Path(folder.name) / path.name, factory=_Connection)
        connection.folder = folder
        return connection
    # It would also make a log beside one that has been written with a log, did it not take the
    # file for immutable.
    mode = "mode=ro&immutable=1" if header[18] == 2 else "mode=ro"
    return sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True)


def copied(paths: Iterable[Path], root: Path) -> TemporaryDirectory[str]:
    """Copies of files below `root`, in a folder that goes when this object does.

    Raises:
        ValueError: they change meanwhile.
    """
    folder = TemporaryDirectory(prefix="nanov2t-")
    before = {path: path.stat() for path in paths if path.is_file()}
    for path in before:
        copy = Path(folder.name) / path.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    for path, facts in before.items():
        now = path.stat()
        if (now.st_size, now.st_mtime_ns) != (facts.st_size, facts.st_mtime_ns):
            raise ValueError(f"{path.name} changed while it was copied; try again")
    return folder


def _beside(path: Path) -> list[Path]:
    """The files that hold a part of a database: a log of what is new, or a journal of what was."""
    files = [path.with_name(f"{path.name}{end}") for end in ("-wal", "-journal")]
    return [file for file in files if file.exists() and file.stat().st_size]


def _checked_header(path: Path) -> bytes:
    """The header of a file. SQLite would not notice that one was cut short before it meets what is
    missing."""
    with open(path, "rb") as file:
        header = file.read(100)
    if not header.startswith(b"SQLite format 3\0"):
        raise ValueError(f"{path.name} is not a database of SQLite, or it is encrypted")
    page_size, pages = int.from_bytes(header[16:18]), int.from_bytes(header[28:32])
    page_size = 65536 if page_size == 1 else page_size
    if path.stat().st_size < max(100, pages * page_size):
        raise ValueError(f"{path.name} was cut short")
    return header


def _columns(db: sqlite3.Connection) -> dict[str, Column]:
    """All columns, by `TABLE.COLUMN`."""
    found: dict[str, Column] = {}
    tables = dict(db.execute("SELECT name, sql FROM sqlite_master WHERE type IN ('table', 'view')"))
    extensions = [name for name, sql in tables.items() if VEC0.search(sql or "")]
    shadows = re.compile(f"({'|'.join(map(re.escape, extensions))}){SHADOWS}")
    for table, sql in tables.items():
        if table in extensions:
            found |= _extension_columns(table, sql)
        elif not shadows.fullmatch(table):
            try:
                found |= _plain_columns(db, table)
            except (
                sqlite3.OperationalError
            ) as error:  # it needs an extension, or a table gone since
                if error.sqlite_errorcode != sqlite3.SQLITE_ERROR:
                    raise
    return found


def _plain_columns(db: sqlite3.Connection, table: str) -> dict[str, Column]:
    """Those of a table or view; its first cells tell which are of vectors."""
    quoted = _quoted(table)
    is_view = db.execute("SELECT type FROM sqlite_master WHERE name = ?", [table]).fetchone()
    source = quoted if is_view == ("view",) else f"{quoted} NOT INDEXED"
    names = [row[1] for row in db.execute(f"PRAGMA table_info({quoted})")]
    ids = tuple((name, _quoted(name)) for name in names)
    found = {}
    for name in names:
        cells = _quoted(name)
        query = f"SELECT {cells} FROM {source} WHERE {cells} IS NOT NULL LIMIT {LOOKED_AT}"
        head = [cell for [cell] in db.execute(query)]
        decoder = decoder_of(head)
        why = "" if decoder else why_not(head)
        found[f"{table}.{name}"] = Column(decoder or Decoder("text"), cells, source, ids, why)
    return found


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
        raw = np.dtype(KINDS[kind.lower()])
        decoder = Decoder("bits" if kind.lower() == "bit" else raw.name, raw)
        found[f"{table}.{name}"] = Column(decoder, cells, source, ids)
    return found


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
