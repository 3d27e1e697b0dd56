"""SQLite files and PostgreSQL databases."""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from nanov2t.core.errors import UserError
from nanov2t.core.files import digest, file_fingerprint
from nanov2t.core.imports import import_client
from nanov2t.stores.base import HEAD, Fetched, ForwardStore, Store, rows_fingerprint
from nanov2t.stores.choosing import check_ids, pick_column
from nanov2t.stores.values import LOOKED_AT, Decoder, decoder_of, why_not

VEC0 = re.compile(r"USING\s+VEC0\b", re.IGNORECASE)
"""In the SQL that makes a table of sqlite-vec."""
VEC0_COLUMN = re.compile(r"(\w+)\s+(float|int8|bit)\[(\d+)\]", re.IGNORECASE)
VEC0_PRIMARY = re.compile(r"(\w+)\s+(?:integer|text)\s+primary\s+key", re.IGNORECASE)
VEC0_TYPES = {"float": "float32", "int8": "int8", "bit": "uint8"}
SHADOWS = r"_(chunks|rowids|info|auxiliary|(vector_|metadata)chunks\d\d|metadatatext\d\d)"
"""Endings of the tables in which sqlite-vec keeps the contents of one of its own."""

PG_TYPES = {
    "vector": "float32",
    "halfvec": "float16",
    "_float4": "float32",
    "_float8": "float64",
    "_numeric": "float64",
}
"""PostgreSQL types that hold vectors, and the types of their numbers."""
PG_COLUMNS = """
WITH RECURSIVE types (type, name) AS (
    SELECT oid, typname FROM pg_type WHERE typtype <> 'd'
    UNION ALL
    SELECT oid, types.name FROM pg_type JOIN types ON typbasetype = type WHERE typtype = 'd'
)
SELECT CASE WHEN pg_table_is_visible(pg_class.oid) THEN '' ELSE nspname || '.' END
    || relname || '.' || attname AS name, nspname AS schema, relname AS table, attname AS column,
    types.name AS type, relkind, pg_table_is_visible(pg_class.oid) AS is_visible
FROM pg_attribute JOIN types ON types.type = atttypid JOIN pg_class ON pg_class.oid = attrelid
JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE relkind IN ('r', 'p', 'v', 'm', 'f') AND attnum > 0 AND NOT attisdropped
AND nspname NOT IN ('pg_catalog', 'pg_toast', 'information_schema')
ORDER BY nspname, relname, attnum
"""
"""All columns of tables and views; the type of a domain is that under it."""


@dataclass(frozen=True)
class Column:
    """A column of an SQLite table, and whether it holds vectors."""

    decoder: Decoder
    cells: str
    """SQL of a vector."""
    source: str
    """SQL of the rows, in their order."""
    ids: dict[str, str]
    """SQL of the columns that ids may come from, by name."""
    why_not: str = ""


class SqliteStore(Store):
    """A column of a table or view, also of a table of sqlite-vec; its extension is not needed."""

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
        columns = _sqlite_columns(db)
        good = {name: column for name, column in columns.items() if not column.why_not}
        if not good or (key in columns and key not in good):
            meant = [(name, column) for name, column in columns.items() if key in ("", name)]
            said = [f": {name} is {column.why_not}" for name, column in meant[:5]]
            raise UserError(f"{where}: holds no vectors{''.join(said)}")
        key = pick_column(where, key, good)
        self.column = columns[key]
        check_ids(where, ids, self.column.ids)
        self._id = self.column.ids[ids] if ids else "NULL"
        [count] = db.execute(f"SELECT count(*) FROM {self.column.source}").fetchone()
        all_ids = f"SELECT {self._id} AS id FROM {self.column.source}"
        other = f"SELECT 1 FROM ({all_ids}) WHERE typeof(id) <> 'integer' LIMIT 1"
        integers = not ids or db.execute(other).fetchone() is None
        self.describe(f"{where}#{key}", self.column.decoder.kind, count, fingerprint, integers)

    def fetch(self, start: int, stop: int) -> Fetched:
        query = f"SELECT {self._id}, {self.column.cells} FROM {self.column.source}"
        rows = self._db.execute(f"{query} LIMIT ? OFFSET ?", (stop - start, start)).fetchall()
        # An open query would lock others out, so they may write, and a change is an error.
        if self._version_now() != self._version:
            raise ValueError("it changed while it was read")
        ids = [id_ for id_, _ in rows] if self.ids else range(start, start + len(rows))
        return ids, [self.column.decoder(cell) for _, cell in rows]

    def _version_now(self) -> Any:
        [(_, _, path)] = self._db.execute("PRAGMA database_list")
        return self._db.execute("PRAGMA data_version").fetchone(), Path(path).stat().st_mtime_ns


class PostgresStore(ForwardStore):
    """A column of a table or view: of pgvector's types, of arrays, or of any other type that holds
    numbers. Rows come in the order of the table, from one snapshot."""

    schemes = ("postgresql", "postgres")
    forms = ("postgresql://USER@HOST/DB#TABLE.COLUMN",)
    extra = "postgres"
    takes_ids = True

    def __init__(self, where: str, key: str, ids: str | None):
        psycopg = import_client("psycopg", self.extra)
        self._sql, rows = psycopg.sql, import_client("psycopg.rows", self.extra)
        self._connection = psycopg.connect(f"postgresql:{where}")
        self._connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        self._connection.read_only = True
        # Else a scan may start in the middle, or be divided among several processes.
        self._connection.execute("SET synchronize_seqscans = off")
        self._connection.execute("SET max_parallel_workers_per_gather = 0")
        info = self._connection.info
        database = f"postgresql://{info.host}/{info.dbname}"  # without the password
        with self._connection.cursor(row_factory=rows.namedtuple_row) as cursor:
            found = {c.name: c for c in cursor.execute(PG_COLUMNS)}
        if key not in found:
            for schema in {c.schema for c in found.values() if c.is_visible}:
                key = key.removeprefix(f"{schema}.")
        if key not in found:
            vectors = [name for name, c in found.items() if c.type in PG_TYPES]
            key = pick_column(database, key, vectors)
        self._column, self.ids = found[key], ids
        table = (self._column.schema, self._column.table)
        self._table = self._sql.Identifier(*table)
        types = {c.column: c.type for c in found.values() if (c.schema, c.table) == table}
        check_ids(".".join(table), ids, types)
        name = f"{database}#{key}"
        self._decoder = self._decoder_of(name)
        count, fingerprint = self._facts()
        integers = not ids or types[ids] in ("int2", "int4", "int8")
        self.describe(name, self._decoder.kind, count, fingerprint, integers)

    def _decoder_of(self, name: str) -> Decoder:
        type_ = self._column.type
        if type_ in PG_TYPES:
            return Decoder(PG_TYPES[type_])
        decoder = decoder_of(cell for _, cell in islice(self._cells(), LOOKED_AT))
        if decoder is None:
            raise UserError(f"{name}: no vectors in it, of type {type_}")
        return decoder

    def rows(self) -> Iterator[tuple[Any, Any]]:
        for id_, cell in self._cells():
            yield id_, self._decoder(cell)

    def _cells(self) -> Iterator[tuple[Any, Any]]:
        sql = self._sql
        query = sql.SQL("SELECT {ids}, {column}{cast} FROM {table}").format(
            ids=sql.Identifier(self.ids) if self.ids else sql.SQL("NULL"),
            column=sql.Identifier(self._column.column),
            # pgvector's types would come as text.
            cast=sql.SQL("::real[]" * (self._column.type in ("vector", "halfvec"))),
            table=self._table,
        )
        with self._connection.cursor("nanov2t", binary=True) as cursor:
            cursor.itersize = HEAD
            yield from cursor.execute(query)

    def _facts(self) -> tuple[int, str]:
        """The number of rows, and a fingerprint.

        A row that was added or changed has a newer transaction number, a deleted one lowers the
        count, and a rewritten table is another file. Views and foreign tables record nothing, so
        all of their rows are read.
        """
        sql = self._sql
        if self._column.relkind in "vf":
            count = sql.SQL("SELECT count(*) FROM {table}").format(table=self._table)
            [rows] = self._connection.execute(count).fetchone()
            return rows, rows_fingerprint(self.rows())
        query = sql.SQL(
            "SELECT count(*), max(xmin::text::bigint), {name}::regclass::oid,"
            " pg_relation_filenode({name}::regclass) FROM {table}"
        ).format(name=sql.Literal(self._table.as_string(self._connection)), table=self._table)
        facts = self._connection.execute(query).fetchone()
        return facts[0], digest(*facts)


class _Connection(sqlite3.Connection):
    """A connection to a copy in a temporary folder, which it keeps alive."""

    folder: TemporaryDirectory[str]


def connect(path: Path) -> sqlite3.Connection:
    """Open an SQLite file to read it, without a trace in its folder.

    SQLite writes beside a database that another program has open, or had open when it was killed:
    then a copy is opened.

    Raises:
        ValueError: the file was cut short, or is not SQLite's.
    """
    with open(path, "rb") as file:
        header = file.read(100)
    if not header.startswith(b"SQLite format 3\0"):
        raise ValueError(f"{path.name} is not a database of SQLite, or it is encrypted")
    # SQLite notices that a file was cut short only when it needs a missing page.
    page_size, pages = int.from_bytes(header[16:18]), int.from_bytes(header[28:32])
    page_size = 65536 if page_size == 1 else page_size
    if path.stat().st_size < max(100, pages * page_size):
        raise ValueError(f"{path.name} was cut short")
    if beside := _beside(path):
        folder = copied([path, *beside], path.parent)
        connection = sqlite3.connect(Path(folder.name) / path.name, factory=_Connection)
        connection.folder = folder
        return connection
    # A database in WAL mode would get a log beside it unless it is declared immutable.
    mode = "mode=ro&immutable=1" if header[18] == 2 else "mode=ro"
    return sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True)


def copied(paths: Iterable[Path], root: Path) -> TemporaryDirectory[str]:
    """Copy files below `root` into a temporary folder that is deleted with the returned object.

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
    """The log or journal that holds a part of a database."""
    files = [path.with_name(f"{path.name}{end}") for end in ("-wal", "-journal")]
    return [file for file in files if file.exists() and file.stat().st_size]


def _sqlite_columns(db: sqlite3.Connection) -> dict[str, Column]:
    """All columns, by `TABLE.COLUMN`."""
    found: dict[str, Column] = {}
    tables = dict(db.execute("SELECT name, sql FROM sqlite_master WHERE type IN ('table', 'view')"))
    extensions = [name for name, sql in tables.items() if VEC0.search(sql or "")]
    shadows = re.compile(f"({'|'.join(map(re.escape, extensions))}){SHADOWS}")
    for table, sql in tables.items():
        if table in extensions:
            found |= _vec0_columns(table, sql)
        elif not shadows.fullmatch(table):
            try:
                found |= _plain_columns(db, table)
            except sqlite3.OperationalError as error:
                # SQLITE_ERROR: the table is gone, or needs an extension.
                if error.sqlite_errorcode != sqlite3.SQLITE_ERROR:
                    raise
    return found


def _plain_columns(db: sqlite3.Connection, table: str) -> dict[str, Column]:
    quoted = _quoted(table)
    is_view = db.execute("SELECT type FROM sqlite_master WHERE name = ?", [table]).fetchone()
    source = quoted if is_view == ("view",) else f"{quoted} NOT INDEXED"
    ids = {row[1]: _quoted(row[1]) for row in db.execute(f"PRAGMA table_info({quoted})")}
    found = {}
    for name, cells in ids.items():
        query = f"SELECT {cells} FROM {source} WHERE {cells} IS NOT NULL LIMIT {LOOKED_AT}"
        head = [cell for [cell] in db.execute(query)]
        decoder = decoder_of(head)
        why = "" if decoder else why_not(head)
        found[f"{table}.{name}"] = Column(decoder or Decoder("text"), cells, source, ids, why)
    return found


def _vec0_columns(table: str, sql: str) -> dict[str, Column]:
    """The columns of a table of sqlite-vec, which keeps 1,024 vectors in each blob."""
    primary = VEC0_PRIMARY.search(sql)
    ids = {primary[1] if primary else "rowid": "coalesce(r.id, r.rowid)"}
    found = {}
    for i, (name, kind, dim) in enumerate(VEC0_COLUMN.findall(sql)):
        raw = np.dtype(VEC0_TYPES[kind.lower()])
        size = int(dim) * raw.itemsize
        source = (
            f"{_quoted(f'{table}_rowids')} r LEFT JOIN {_quoted(f'{table}_vector_chunks{i:02}')} v"
            " ON v.rowid = r.chunk_id ORDER BY r.rowid"
        )
        cells = f"substr(v.vectors, r.chunk_offset * {size} + 1, {size})"
        decoder = Decoder("bits" if kind.lower() == "bit" else raw.name, raw)
        found[f"{table}.{name}"] = Column(decoder, cells, source, ids)
    return found


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
