"""Parquet files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from nanov2t.stores.arrow import batch_rows, choose_columns
from nanov2t.stores.base import HEAD, ForwardStore, file_fingerprint


class ParquetStore(ForwardStore):
    """A column of lists of numbers."""

    suffixes = (".parquet",)
    forms = ("x.parquet#COLUMN",)
    takes_ids = True

    def __init__(self, where: str, key: str, ids: str | None):
        self.file, self.ids = pq.ParquetFile(where, page_checksum_verification=True), ids
        schema, count = self.file.schema_arrow, self.file.metadata.num_rows
        self.column, kind, integer_ids = choose_columns(where, schema, key, ids)
        fingerprint = file_fingerprint(Path(where))
        self.describe(f"{where}#{self.column}", kind, count, fingerprint, integer_ids)

    def rows(self) -> Iterator[tuple[Any, Any]]:
        start = 0
        columns = [self.column, self.ids] if self.ids else [self.column]
        for batch in self.file.iter_batches(HEAD, columns=columns):
            yield from batch_rows(batch, self.column, self.ids, start)
            start += len(batch)
