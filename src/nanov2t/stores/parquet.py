"""Parquet files."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from nanov2t.stores.arrow import ArrowRows
from nanov2t.stores.base import HEAD


class ParquetStore(ArrowRows):
    suffixes = (".parquet",)
    forms = ("x.parquet#COLUMN",)

    def open(self) -> tuple[pa.Schema, int]:
        self.file = pq.ParquetFile(self.path, page_checksum_verification=True)
        return self.file.schema_arrow, self.file.metadata.num_rows

    def batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        yield from self.file.iter_batches(HEAD, columns=columns)
