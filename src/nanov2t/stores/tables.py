"""Files and databases that Arrow reads: Parquet, Feather, CSV, Delta and LanceDB."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from nanov2t.core.errors import UserError
from nanov2t.core.files import digest
from nanov2t.core.imports import import_client
from nanov2t.stores.arrow import ArrowRows, choose_vectors
from nanov2t.stores.base import HEAD, Fetched, NoRows, Store
from nanov2t.stores.choosing import pick, split_key
from nanov2t.stores.magic import check_encoding

BLOCK = 2**20
"""Bytes of a CSV file read at once; a row must be shorter."""
END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"


class ParquetStore(ArrowRows):
    suffixes = (".parquet",)
    forms = ("x.parquet#COLUMN",)

    def open(self) -> tuple[pa.Schema, int]:
        self.file = pq.ParquetFile(self.path, page_checksum_verification=True)
        return self.file.schema_arrow, self.file.metadata.num_rows

    def batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        yield from self.file.iter_batches(HEAD, columns=columns)


class FeatherStore(ArrowRows):
    """Arrow files, also called Feather, and Arrow streams, the format of Hugging Face datasets."""

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
                chosen.validate(full=True)  # a damaged batch would be read out of bounds
                yield chosen

    def _reader(self, file: pa.MemoryMappedFile) -> pa.RecordBatchReader:
        return pa.ipc.open_file(file) if self.is_file else pa.ipc.open_stream(file)

    def _all(self, reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        if not self.is_file:
            return iter(reader)
        return map(reader.get_batch, range(reader.num_record_batches))


class CsvStore(ArrowRows):
    """Vectors in a column, or one column for each dimension, between commas, tabs, semicolons or
    bars. Columns have no names if the first line is all numbers, other than 0, 1, 2 and so on.

    All cells are read as text, so that one that is not a number is an error of its row alone.
    """

    suffixes = (".csv", ".tsv")
    forms = ("x.csv#COLUMN", "x.csv#FIRST:LAST", "x.tsv")

    def open(self) -> tuple[pa.Schema, int]:
        check_encoding(self.path)
        with self.path.open("rb") as file:
            if not file.read(4).removeprefix(b"\xef\xbb\xbf").strip():
                raise NoRows(str(self.path))
            file.seek(-1, 2)
            if file.read() not in b'\n\r"':
                raise ValueError("its last line has no end: it may have been cut off")
        first = self._first_line()
        counted = [str(i) for i in range(len(first))]
        self.named = first == counted or not _numbers(first)  # pandas counts columns without names
        self.names = _distinct(first) if self.named else counted
        schema = pa.schema([(name, pa.string()) for name in self.names])
        return schema, sum(len(batch) for batch in self.batches(self.names[:1]))

    def _first_line(self) -> list[str]:
        """Its cells, split at the delimiter that gives the first two rows as many, else commas."""
        csv.field_size_limit(BLOCK)
        for self.delimiter in ";\t|,":
            with self.path.open(newline="", encoding="utf-8-sig") as file, suppress(csv.Error):
                rows = list(islice(csv.reader(file, delimiter=self.delimiter), 2))
                if len(rows[0]) > 1 and len(rows[0]) == len(rows[-1]):
                    break
        return rows[0]

    def batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        reader = pa.csv.open_csv(
            self.path,
            pa.csv.ReadOptions(
                use_threads=False, block_size=BLOCK, column_names=self.names, skip_rows=self.named
            ),
            pa.csv.ParseOptions(delimiter=self.delimiter, newlines_in_values=True),
            pa.csv.ConvertOptions(
                column_types=dict.fromkeys(self.names, pa.string()),
                include_columns=columns,
                null_values=[""],
                strings_can_be_null=True,
            ),
        )
        for batch in reader:
            yield from (batch.slice(i, HEAD) for i in range(0, len(batch), HEAD))


class DeltaStore(ArrowRows):
    """The newest version of a table: Parquet files, and a log that says which of them count."""

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
        # The log entry of a version has its own time and contents, so it is the fingerprint.
        self.path = self.path / "_delta_log" / f"{table.version():020}.json"
        return self._rows.schema, self._rows.count_rows()

    def batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        yield from self._rows.to_batches(columns=columns)


class LanceStore(Store):
    """A LanceDB table, read as it was when it was opened."""

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
        self.table.checkout(self.table.version)
        spec = f"lancedb:{where}#{name}"
        schema = self.table.schema
        self.vectors = choose_vectors(spec, pa.RecordBatch.from_pylist([], schema), column, ids)
        integers = not ids or pa.types.is_signed_integer(schema.field(ids).type)
        count = self.table.count_rows()
        # A table that was made anew may have the same version, so its ends count too.
        ends = *self.fetch(0, min(count, 256))[1], *self.fetch(max(0, count - 256), count)[1]
        samples = [None if vector is None else vector.tobytes() for vector in ends]
        fingerprint = digest(count, self.table.version, *samples)
        self.describe(
            f"{spec}.{self.vectors.name}", self.vectors.kind, count, fingerprint, integers
        )

    def fetch(self, start: int, stop: int) -> Fetched:
        columns = list({*self.vectors.columns, *filter(None, [self.ids])})
        query = self.table.search().select(columns).offset(start).limit(stop - start)
        ids: list[Any] = []
        vectors: list[Any] = []
        for batch in query.to_arrow().to_batches():
            ids += batch.column(self.ids).to_pylist() if self.ids else []
            vectors += list(self.vectors.of(batch))
        return ids if self.ids else range(start, start + len(vectors)), vectors


def _distinct(names: list[str]) -> list[str]:
    """Names of columns; a second `x` becomes `x.1`, as in pandas."""
    return [f"{n}.{names[:i].count(n)}" if n in names[:i] else n for i, n in enumerate(names)]


def _numbers(cells: list[str]) -> bool:
    try:
        return bool(list(map(float, cells)))
    except ValueError:
        return False
