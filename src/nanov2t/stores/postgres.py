"""Tables of PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from nanov2t.core.errors import UserError
from nanov2t.stores.base import ForwardStore, digest, import_client, need_key

KINDS = {
    "vector": "float32",
    "halfvec": "float16",
    "real[]": "float32",
    "double precision[]": "float64",
}
"""Types of columns that hold vectors, and of their numbers."""


class PostgresStore(ForwardStore):
    """A column of pgvector's types, or of arrays of floats.

    Rows come in the order in which the table holds them, out of one snapshot, so that what others
    write while the run goes on stays out of it.
    """

    schemes = ("postgresql", "postgres")
    forms = ("postgresql://USER@HOST/DB#TABLE.COLUMN",)
    extra = "postgres"
    takes_ids = True

    def __init__(self, where: str, key: str, ids: str | None):
        need_key("postgresql", key)
        psycopg = import_client("psycopg", self.extra)
        self._sql = import_client("psycopg.sql", self.extra)
        table, dot, column = key.rpartition(".")
        if not dot:
            raise UserError(f"{key}: not TABLE.COLUMN")
        self._connection = psycopg.connect(f"postgresql:{where}")
        self._connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        self._connection.read_only = True
        # Else a sequential scan may start where another one is.
        self._connection.execute("SET synchronize_seqscans = off")
        self._table = self._sql.Identifier(*table.split("."))
        self.column, self.ids = column, ids
        types = self._column_types()
        for wanted in (column, ids):
            if wanted and wanted not in types:
                raise UserError(f"{table}: no column {wanted}, only {', '.join(types)}")
        count, fingerprint = self._facts()
        info = self._connection.info  # of which the name takes no password
        kind = KINDS.get(types[column]) or types[column]
        integer_ids = not ids or types[ids] in ("smallint", "integer", "bigint")
        name = f"postgresql://{info.host}/{info.dbname}#{key}"
        self.describe(name, kind, count, fingerprint, integer_ids)

    def rows(self) -> Iterator[tuple[Any, Any]]:
        sql = self._sql
        query = sql.SQL("SELECT {ids}, {column}::real[] FROM {table}").format(
            ids=sql.Identifier(self.ids) if self.ids else sql.SQL("NULL"),
            column=sql.Identifier(self.column),
            table=self._table,
        )
        with self._connection.cursor("nanov2t", binary=True) as cursor:
            cursor.itersize = 1024
            yield from cursor.execute(query)

    def _column_types(self) -> dict[str, str]:
        """The types of the table's columns."""
        rows = self._connection.execute(
            "SELECT attname, format_type(atttypid, NULL) FROM pg_attribute "
            "WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped",
            [self._table.as_string(self._connection)],
        )
        return dict(rows.fetchall())

    def _facts(self) -> tuple[int, str]:
        """The number of the rows, and a fingerprint.

        Every row written since, be it new or changed, has a newer transaction number; those deleted
        miss from the count.
        """
        name = self._sql.Literal(self._table.as_string(self._connection))
        query = self._sql.SQL(
            "SELECT count(*), max(xmin::text::bigint), {name}::regclass::oid FROM {table}"
        ).format(name=name, table=self._table)
        facts = self._connection.execute(query).fetchone()
        return facts[0], digest(*facts)
