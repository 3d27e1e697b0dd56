"""Tables of PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator

from nanov2t.core.errors import UserError
from nanov2t.stores.base import (
    Source,
    digest,
    forward,
    import_client,
    make,
    parts,
)


def postgres(spec: str, ids: str | None) -> Source:
    """`postgresql://...#TABLE.COLUMN`, or `#SCHEMA.TABLE.COLUMN`: a column of pgvector's, or of
    arrays of floats.

    Rows come in the order in which the table holds them, out of one snapshot, so that what others
    write while the run goes on stays out of it.
    """
    url, place = parts(spec)
    psycopg = import_client("psycopg", "postgres")
    sql = import_client("psycopg.sql", "postgres")
    if "." not in place:
        raise UserError(f"{place}: not TABLE.COLUMN")
    table_name, column = place.rsplit(".", 1)
    connection = psycopg.connect(url)
    connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    connection.read_only = True
    # Else a sequential scan may start where another one is.
    connection.execute("SET synchronize_seqscans = off")
    table = sql.Identifier(*table_name.split("."))
    types = dict(
        connection.execute(
            "SELECT attname, format_type(atttypid, NULL) FROM pg_attribute "
            "WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped",
            [table.as_string(connection)],
        ).fetchall()
    )
    for wanted in (column, ids):
        if wanted and wanted not in types:
            raise UserError(f"{table_name}: no column {wanted}, only {', '.join(types)}")
    # Every row written since, be it new or changed, has a newer transaction number; those deleted
    # miss from the count.
    facts = connection.execute(
        sql.SQL(
            "SELECT count(*), max(xmin::text::bigint), {name}::regclass::oid FROM {table}"
        ).format(name=sql.Literal(table.as_string(connection)), table=table)
    ).fetchone()
    query = sql.SQL("SELECT {ids}, {column}::real[] FROM {table}").format(
        ids=sql.Identifier(ids) if ids else sql.SQL("NULL"),
        column=sql.Identifier(column),
        table=table,
    )

    def rows() -> Iterator[tuple]:
        with connection.cursor("nanov2t", binary=True) as cursor:
            cursor.itersize = 1024
            for i, (id_, vector) in enumerate(cursor.execute(query)):
                yield id_ if ids else i, vector

    kinds = {
        "vector": "float32",
        "halfvec": "float16",
        "real[]": "float32",
        "double precision[]": "float64",
    }
    integer_ids = not ids or types[ids] in ("smallint", "integer", "bigint")
    # Without the password.
    name = f"postgresql://{connection.info.host}/{connection.info.dbname}#{place}"
    return make(
        name,
        kinds.get(types[column]) or types[column],
        facts[0],
        digest(*facts),
        forward(rows),
        integer_ids,
    )
