"""Tables of LanceDB."""

from __future__ import annotations

from pathlib import Path

from nanov2t.core.errors import UserError
from nanov2t.stores.base import (
    Source,
    arrow_columns,
    arrow_rows,
    ends,
    import_client,
    make,
    parts,
)


def lancedb(spec: str, ids: str | None) -> Source:
    """`lancedb:PATH#TABLE`, or `#TABLE.COLUMN` where several columns hold vectors."""
    path, name = parts(spec)
    client = import_client("lancedb", "lancedb")
    if not Path(path).is_dir():
        raise UserError(f"{path}: no such folder")
    name, _, key = name.partition(".")
    table = client.connect(path).open_table(name)
    table.checkout(table.version)  # what others write while the run goes on stays out of it
    column, kind, integer_ids = arrow_columns(spec, table.schema, key, ids)

    def fetch(start: int, stop: int) -> tuple:
        query = (
            table.search()
            .select([column, *([ids] if ids else [])])
            .offset(start)
            .limit(stop - start)
        )
        rows = [
            row
            for batch in query.to_arrow().to_batches()
            for row in arrow_rows(batch, column, ids, start)
        ]
        return [id_ if ids else start + i for i, (id_, _) in enumerate(rows)], [
            vector for _, vector in rows
        ]

    count = table.count_rows()
    return make(spec, kind, count, ends(fetch, count, table.version), fetch, integer_ids)
