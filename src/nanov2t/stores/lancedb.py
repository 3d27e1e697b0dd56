"""Tables of LanceDB."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from nanov2t.core.errors import UserError
from nanov2t.core.files import digest
from nanov2t.stores.arrow import choose_vectors
from nanov2t.stores.base import Fetched, Store, import_client
from nanov2t.stores.choosing import pick, split_key


class LanceStore(Store):
    """A table; the column is named where several hold vectors."""

    schemes = ("lancedb",)
    forms = ("lancedb:PATH#TABLE", "lancedb:PATH#TABLE.COLUMN")
    extra = "lancedb"
    takes_ids = True

    def __init__(self, where: str, key: str, ids: str | None):
        lancedb = import_client("lancedb", self.extra)
        if not Path(where).is_dir():
            raise UserError(f"{where}: no such folder")
        database = lancedb.connect(where)
        names = list(database.table_names(limit=100_000))
        name, column = split_key(key, names)
        name = pick(f"lancedb:{where}", name, names)
        self.table, self.ids = database.open_table(name), ids
        # What others write while the run goes on stays out of it.
        self.table.checkout(self.table.version)
        spec = f"lancedb:{where}#{name}"
        schema = self.table.schema
        self.vectors = choose_vectors(spec, pa.RecordBatch.from_pylist([], schema), column, ids)
        integers = not ids or pa.types.is_signed_integer(schema.field(ids).type)
        count = self.table.count_rows()
        fingerprint = digest(count, self.table.version, *self._samples(count))
        name = f"{spec}.{self.vectors.name}"
        self.describe(name, self.vectors.kind, count, fingerprint, integers)

    def fetch(self, start: int, stop: int) -> Fetched:
        columns = list({*self.vectors.columns, *filter(None, [self.ids])})
        query = self.table.search().select(columns).offset(start).limit(stop - start)
        ids: list[Any] = []
        vectors: list[Any] = []
        for batch in query.to_arrow().to_batches():
            ids += batch.column(self.ids).to_pylist() if self.ids else []
            vectors += list(self.vectors.of(batch))
        return ids if self.ids else range(start, start + len(vectors)), vectors

    def _samples(self, count: int) -> list[bytes | None]:
        """The first and the last rows: a table that was made anew may be of the same version."""
        vectors = [*self.fetch(0, min(count, 256))[1], *self.fetch(max(0, count - 256), count)[1]]
        return [None if vector is None else vector.tobytes() for vector in vectors]
