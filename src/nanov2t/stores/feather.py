"""Arrow's files, also called Feather, and its streams, in which Hugging Face datasets are kept."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from nanov2t.stores.arrow import ArrowRows

END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"


class FeatherStore(ArrowRows):
    suffixes = (".feather", ".arrow", ".ipc")
    forms = ("x.feather#COLUMN", "x.arrow#COLUMN")

    def open(self) -> tuple[pa.Schema, int]:
        with self.path.open("rb") as file:
            self.is_file = file.read(6) == b"ARROW1"
            file.seek(-8, 2)
            if not self.is_file and file.read() != END_OF_STREAM:
                raise ValueError("its end is missing: it may have been cut off")
        with pa.memory_map(str(self.path)) as file, self._reader(file) as reader:
            return reader.schema, sum(len(batch) for batch in self._all(reader))

    def batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        with pa.memory_map(str(self.path)) as file, self._reader(file) as reader:
            for batch in self._all(reader):
                chosen = batch.select(columns)
                chosen.validate(full=True)  # what was damaged would be read out of bounds
                yield chosen

    def _reader(self, file: pa.MemoryMappedFile) -> pa.RecordBatchReader:
        return pa.ipc.open_file(file) if self.is_file else pa.ipc.open_stream(file)

    def _all(self, reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        if not self.is_file:
            yield from reader
            return
        for i in range(reader.num_record_batches):
            yield reader.get_batch(i)
