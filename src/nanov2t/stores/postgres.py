"""Tables of PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from nanov2t.core.errors import UserError
from nanov2t.core.files import digest
from nanov2t.stores.base import ForwardStore, import_client, rows_fingerprint
from nanov2t.stores.choosing import pick_column
from nanov2t.stores.values import LOOKED_AT, Decoder, decoder_of

KINDS = {
    "vector": "float32",
    "halfvec": "float16",
    "_float4": "float32",
    "_float8": "float64",
    "_numeric": "float64",
}
"""Types that hold vectors, as the catalogue names them in any schema, and of their numbers."""
COLUMNS = """
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


class PostgresStore(ForwardStore):
    """A column of a table or view: of pgvector's types, of arrays, or of anything else that holds
    numbers.

    Rows come in the order in which the table holds them, out of one snapshot, so that what others
    write while the run goes on stays out of it.
    """

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
        # Else a scan may start where another one is, or be divided among several processes.
        self._connection.execute("SET synchronize_seqscans = off")
        self._connection.execute("SET max_parallel_workers_per_gather = 0")
        info = self._connection.info  # of which the name takes no password
        database = f"postgresql://{info.host}/{info.dbname}"
        with self._connection.cursor(row_factory=rows.namedtuple_row) as cursor:
            found = {c.name: c for c in cursor.execute(COLUMNS)}
        for schema in (
            {c.schema for c in found.values() if c.is_visible} if key not in found else ()
        ):
            key = key.removeprefix(f"{schema}.")
        if key not in found:  # where it is, it may be of any type
            key = pick_column(database, key, [name for name, c in found.items() if c.type in KINDS])
        self._column, self.ids = found[key], ids
        table = (self._column.schema, self._column.table)
        self._table = self._sql.Identifier(*table)
        types = {c.column: c.type for c in found.values() if (c.schema, c.table) == table}
        if ids and ids not in types:
            raise UserError(f"{'.'.join(table)}: no column {ids}, only {', '.join(types)}")
        kind = KINDS.get(self._column.type, "")
        # These two come as text else.
        self._cast = self._sql.SQL("::real[]" * (self._column.type in ("vector", "halfvec")))
        self._decoder: Decoder | None = None
        if not kind:
            self._decoder = decoder_of(value for _, value in islice(self.rows(), LOOKED_AT))
            if self._decoder is None:
                raise UserError(f"{database}#{key}: no vectors in it, of type {self._column.type}")
            kind = self._decoder.kind
        count, fingerprint = self._facts()
        integer_ids = not ids or types[ids] in ("int2", "int4", "int8")
        self.describe(f"{database}#{key}", kind, count, fingerprint, integer_ids)

    def rows(self) -> Iterator[tuple[Any, Any]]:
        sql = self._sql
        query = sql.SQL("SELECT {ids}, {column}{cast} FROM {table}").format(
            ids=sql.Identifier(self.ids) if self.ids else sql.SQL("NULL"),
            column=sql.Identifier(self._column.column),
            cast=self._cast,
            table=self._table,
        )
        with self._connection.cursor("nanov2t", binary=True) as cursor:
            cursor.itersize = 1024
            for id_, value in cursor.execute(query):
                yield id_, self._decoder(value) if self._decoder else value

    def _facts(self) -> tuple[int, str]:
        """The number of the rows, and a fingerprint.

        Every row written since, be it new or changed, has a newer transaction number; those deleted
        miss from the count; a table that was written anew, in another order, is another file. Views
        and foreign tables know nothing of this, so all of their rows are read.
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
