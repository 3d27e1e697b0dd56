"""ORC files."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
from pyarrow.orc import ORCFile

from nanov2t.stores.arrow import ArrowRows


class OrcStore(ArrowRows):
    suffixes = (".orc",)
    forms = ("x.orc#COLUMN",)

    def open(self) -> tuple[pa.Schema, int]:
        self.file = ORCFile(self.path)
        return self.file.schema, self.file.nrows

    def batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        for stripe in range(self.file.nstripes):
            yield self.file.read_stripe(stripe, columns)
