"""SQLite files and PostgreSQL databases."""

import re
import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from nanov2t.core.errors import UserError
from nanov2t.core.files import digest, file_fingerprint
from nanov2t.core.imports import import_client
from nanov2t.stores.base import HEAD, Fetched, Store
from nanov2t.stores.values import LOOKED_AT, Decoder, check_ids, decoder_of, pick

VEC0 = re.compile(r"USING\s+VEC0\b", re.IGNORECASE)  # in the SQL that makes a table of sqlite-vec
VEC0_COLUMN = re.compile(r"(\w+)\s+(float|int8|bit)\[(\d+)\]", re.IGNORECASE)
VEC0_PRIMARY = re.compile(r"(\w+)\s+(?:integer|text)\s+primary\s+key", re.IGNORECASE)
SHADOWS = r"_(chunks|rowids|info|auxiliary|(vector_|metadata)chunks\d\d|metadatatext\d\d)"
"""Endings of the tables in which sqlite-vec keeps the contents of one of its own."""

PG_TYPES = {"vector": "float32", "halfvec": "float16", "_float4": "float32"}
PG_TYPES |= {"_float8": "float64", "_numeric": "float64"}  # types of vectors, and of their numbers
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
"""  # all columns of tables and views; the type of a domain is that under it
PG_FACTS = """
SELECT count(*), max(xmin::text::bigint), {name}::regclass::oid,
    pg_relation_filenode({name}::regclass) FROM {table}
"""
"""A changed row has a newer transaction number, a deleted one lowers the count, and a rewritten
table is another file."""


@dataclass(frozen=True)
class Column:
    """A column of an SQLite table."""

    decoder: Decoder | str  # or why it holds no vectors
    cells: str  # SQL of a vector
    source: str  # SQL of the rows, in their order
    ids: dict[str, str]  # SQL of the columns that ids may come from, by name


class SqliteStore(Store):
    """A column of a table or view, also of a table of sqlite-vec; its extension is not needed."""

    forms = ("x.db#TABLE.COLUMN", "x.sqlite#TABLE.COLUMN", "x.sqlite3#TABLE.COLUMN")
    takes_ids = True

    def __init__(self, where: str, key: str, ids: str | None):
        path, self.ids = Path(where), ids
        if path.name == "chroma.sqlite3":
            spec = f"chroma:{path.parent}#COLLECTION"
            raise UserError(f"{where}: a part of a Chroma folder: read {spec}")
        fingerprint = digest(*map(file_fingerprint, [path, *_beside(path)]))
        self._db = db = connect(path)
        self._version = self._version_now()
        columns = _sqlite_columns(db)
        decoders = {n: c.decoder for n, c in columns.items() if isinstance(c.decoder, Decoder)}
        if not decoders or (key in columns and key not in decoders):
            meant = [(name, column) for name, column in columns.items() if key in ("", name)]
            said = [f": {name} is {column.decoder}" for name, column in meant[:5]]
            raise UserError(f"{where}: holds no vectors{''.join(said)}")
        key = pick(where, key, decoders)
        column, self._decoder = columns[key], decoders[key]
        check_ids(where, ids, column.ids)
        id_ = column.ids[ids] if ids else "NULL"
        self._query = f"SELECT {id_} AS nanov2t_id, {column.cells} FROM {column.source}"
        [count] = db.execute(f"SELECT count(*) FROM {column.source}").fetchone()
        other = f"SELECT 1 FROM ({self._query}) WHERE typeof(nanov2t_id) <> 'integer' LIMIT 1"
        integers = not ids or db.execute(other).fetchone() is None
        self.describe(f"{where}#{key}", self._decoder.kind, count, integers, fingerprint)

    def fetch(self, start: int, stop: int) -> Fetched:
        query = f"{self._query} LIMIT ? OFFSET ?"
        rows = self._db.execute(query, (stop - start, start)).fetchall()
        # An open query would lock others out. So there is none, and a change is an error.
        if self._version_now() != self._version:
            raise ValueError("it changed while it was read")
        ids = [id_ for id_, _ in rows] if self.ids else range(start, start + len(rows))
        return ids, [self._decoder(cell) for _, cell in rows]

    def _version_now(self) -> Any:
        [(_, _, path)] = self._db.execute("PRAGMA database_list")
        return self._db.execute("PRAGMA data_version").fetchone(), Path(path).stat().st_mtime_ns


def _sqlite_columns(db: sqlite3.Connection) -> dict[str, Column]:
    """All columns, by `TABLE.COLUMN`."""
    found: dict[str, Column] = {}
    tables = db.execute("SELECT * FROM sqlite_master WHERE type IN ('table', 'view')").fetchall()
    extensions = [name for _, name, _, _, sql in tables if VEC0.search(sql or "")]
    shadows = re.compile(f"({'|'.join(map(re.escape, extensions))}){SHADOWS}")
    for kind, table, _, _, sql in tables:
        if table in extensions:
            found |= _vec0_columns(table, sql)
        elif not shadows.fullmatch(table):
            try:
                found |= _plain_columns(db, table, " NOT INDEXED" * (kind == "table"))
            except sqlite3.OperationalError as error:
                # SQLITE_ERROR: the table is gone, or needs an extension.
                if error.sqlite_errorcode != sqlite3.SQLITE_ERROR:
                    raise
    return found


def _plain_columns(db: sqlite3.Connection, table: str, order: str) -> dict[str, Column]:
    source = _quoted(table) + order
    ids = {row[1]: _quoted(row[1]) for row in db.execute(f"PRAGMA table_info({_quoted(table)})")}
    found = {}
    for name, cells in ids.items():
        query = f"SELECT {cells} FROM {source} WHERE {cells} IS NOT NULL LIMIT {LOOKED_AT}"
        decoder = decoder_of(cell for [cell] in db.execute(query))
        found[f"{table}.{name}"] = Column(decoder, cells, source, ids)
    return found


def _vec0_columns(table: str, sql: str) -> dict[str, Column]:
    """The columns of a table of sqlite-vec, which keeps 1,024 vectors in each blob."""
    primary = VEC0_PRIMARY.search(sql)
    ids = {primary[1] if primary else "rowid": "coalesce(r.id, r.rowid)"}
    found = {}
    for i, (name, kind, dim) in enumerate(VEC0_COLUMN.findall(sql)):
        raw = np.dtype({"float": "float32", "int8": "int8", "bit": "uint8"}[kind.lower()])
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


class PostgresStore(Store):
    """A column of a table or view: of pgvector's types, of arrays, or of any other type that holds
    numbers. All rows come from one snapshot."""

    forms = ("postgresql://USER@HOST/DB#TABLE.COLUMN", "postgres://…")
    extra = "postgres"
    takes_ids = True

    def __init__(self, where: str, key: str, ids: str | None):
        psycopg = import_client("psycopg", self.extra)
        sql, db = psycopg.sql, psycopg.connect(f"postgresql:{where}")
        self._connection = db
        db.isolation_level, db.read_only = psycopg.IsolationLevel.REPEATABLE_READ, True
        # Else a scan may start in the middle, or be divided among several processes.
        db.execute("SET synchronize_seqscans = off")
        db.execute("SET max_parallel_workers_per_gather = 0")
        database = f"postgresql://{db.info.host}/{db.info.dbname}"  # without the password
        with db.cursor(row_factory=psycopg.rows.namedtuple_row) as cursor:
            found = {c.name: c for c in cursor.execute(PG_COLUMNS)}
        if key not in found:
            for schema in {c.schema for c in found.values() if c.is_visible}:
                key = key.removeprefix(f"{schema}.")
        if key not in found:
            vectors = [name for name, c in found.items() if c.type in PG_TYPES]
            key = pick(database, key, vectors)
        self.ids, column, name = ids, found[key], f"{database}#{key}"
        table = (column.schema, column.table)
        types = {c.column: c.type for c in found.values() if (c.schema, c.table) == table}
        check_ids(".".join(table), ids, types)
        place, cell = (sql.Identifier(*n).as_string(db) for n in (table, [column.column]))
        cell += "::real[]" * (column.type in ("vector", "halfvec"))  # or they would come as text
        id_ = sql.Identifier(ids).as_string(db) if ids else "NULL"
        self._query = f"SELECT {id_}, {cell} FROM {place}"
        kind = PG_TYPES.get(column.type)
        decoder = Decoder(kind) if kind else decoder_of(cell for _, cell in self._cells())
        if isinstance(decoder, str):
            raise UserError(f"{name}: no vectors in it, of type {column.type}")
        self._decoder = decoder
        if column.relkind in "vf":  # views and foreign tables record no changes
            self.describe_by_reading(name, self._decoder.kind)
            return
        facts = db.execute(PG_FACTS.format(table=place, name=sql.quote(place)))
        count, *changes = facts.fetchone()
        integers = not ids or types[ids] in ("int2", "int4", "int8")
        self.describe(name, self._decoder.kind, count, integers, digest(count, *changes))

    def rows(self) -> Iterator[tuple[Any, Any]]:
        return ((id_, self._decoder(cell)) for id_, cell in self._cells())

    def _cells(self) -> Iterator[tuple[Any, Any]]:
        with self._connection.cursor("nanov2t", binary=True) as cursor:
            cursor.itersize = HEAD
            yield from cursor.execute(self._query)


class _Connection(sqlite3.Connection):
    folder: TemporaryDirectory[str]  # of a copy; deleted with the connection


def connect(path: Path) -> sqlite3.Connection:
    """Open an SQLite file to read it, without a trace in its folder. SQLite writes beside a file
    that another program has open, or had open when it was killed: then open a copy."""
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
    """Copy files below `root` into a temporary folder that is deleted with the returned object."""
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
