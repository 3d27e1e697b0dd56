"""Delta tables: folders of Parquet files, and a log that says which of them count."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from nanov2t.core.errors import UserError
from nanov2t.stores.arrow import ArrowRows
from nanov2t.stores.base import import_client


class DeltaStore(ArrowRows):
    """The newest version of a table."""

    schemes = ("delta",)
    forms = ("delta:PATH#COLUMN",)
    extra = "delta"
    _rows: Any

    def open(self) -> tuple[pa.Schema, int]:
        deltalake = import_client("deltalake", self.extra)
        if not (self.path / "_delta_log").is_dir():
            raise UserError(f"{self.path}: not a Delta table")
        table = deltalake.DeltaTable(str(self.path))
        self._rows = table.to_pyarrow_dataset()
        # The time and the contents of what the log says of this version tell it from others.
        self.path = self.path / "_delta_log" / f"{table.version():020}.json"
        return self._rows.schema, self._rows.count_rows()

    def batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        yield from self._rows.to_batches(columns=columns)
