"""Arrow tables: Parquet, Feather, CSV, Delta and LanceDB. Vectors are lists of numbers, other
values that :mod:`nanov2t.stores.values` decodes, or one column for each dimension."""

import csv
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from pyarrow import types

from nanov2t.core.errors import UserError
from nanov2t.core.files import digest, file_fingerprint
from nanov2t.core.imports import import_client
from nanov2t.stores.base import HEAD, NoRows, Store
from nanov2t.stores.text_files import BOM, check_encoding, is_number
from nanov2t.stores.values import (
    LOOKED_AT,
    Decoder,
    Way,
    check_ids,
    choose,
    pick,
    split_key,
    values_at,
    vectors_in,
)

COUNTING = ("", "id", "index", "Unnamed: 0", "__index_level_0__")  # columns that count rows
END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"
BLOCK = 2**20  # bytes of a CSV file read at once; a row must be shorter


@dataclass(frozen=True)
class Vectors:
    """The place of the vectors in a table."""

    name: str  # what users write after the `#`
    columns: tuple[str, ...]  # one column, or one for each dimension
    kind: str  # the type of the numbers, or `text`
    way: Way = ()  # from the row to the vector
    decode: Decoder | None = None  # decodes values that are not Arrow's lists of numbers

    def each(self, batch: pa.RecordBatch) -> Iterator[list[Any]]:
        """All vectors of each row; [None] if it has none."""
        columns = [_plain(batch.column(name)) for name in self.columns]
        if len(columns) > 1:
            try:
                cast = [pc.cast(c, pa.float64()).to_numpy(zero_copy_only=False) for c in columns]
                return ([row] for row in np.stack(cast, axis=1))
            except pa.ArrowInvalid:  # one bad row: each is then judged by itself
                return ([row] for row in zip(*(c.to_pylist() for c in columns), strict=True))
        if decode := self.decode:
            found = (values_at(value, self.way[1:]) for value in columns[0].to_pylist())
            return ([*map(decode, cells)] or [None] for cells in found)
        rows = _lists(batch, self.way)
        return ([r.values.to_numpy(zero_copy_only=False) if r.is_valid else None] for r in rows)


class ArrowRows(Store):
    """A table that is read batch by batch."""

    takes_ids = True
    mark = "#"  # between the source and the name of its vectors

    def __init__(self, where: str, key: str, ids: str | None):
        self.path, self.ids = Path(where), ids
        schema, count = self.open()
        if not count:
            raise NoRows(where)
        head = next(batch for batch in self.batches(schema.names) if len(batch))
        self.vectors = choose_vectors(where, head, key, ids)
        if None in self.vectors.way:
            batches = self.batches(list(self.vectors.columns))
            count = sum(len(row) for batch in batches for row in self.vectors.each(batch))
        integers = not ids or types.is_signed_integer(schema.field(ids).type)
        name = f"{where}{self.mark}{self.vectors.name}" if self.vectors.name else where
        self.describe(name, self.vectors.kind, count, integers)

    def open(self) -> tuple[pa.Schema, int]:
        """The columns, and the number of rows."""
        raise NotImplementedError

    def batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """All rows of some columns."""
        raise NotImplementedError

    def rows(self) -> Iterator[tuple[Any, Any]]:
        for batch in self.batches(list({*self.vectors.columns, *filter(None, [self.ids])})):
            ids = batch.column(self.ids).to_pylist() if self.ids else [None] * len(batch)
            for id_, vectors in zip(ids, self.vectors.each(batch), strict=True):
                yield from ((id_, vector) for vector in vectors)


class ParquetStore(ArrowRows):
    forms = ("x.parquet#COLUMN",)

    def open(self) -> tuple[pa.Schema, int]:
        self.file = pq.ParquetFile(self.path, page_checksum_verification=True)
        return self.file.schema_arrow, self.file.metadata.num_rows

    def batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        yield from self.file.iter_batches(HEAD, columns=columns)


class FeatherStore(ArrowRows):
    """Arrow files, also called Feather, and the Arrow streams of Hugging Face datasets."""

    forms = ("x.feather#COLUMN", "x.arrow#COLUMN", "x.ipc#COLUMN")

    def open(self) -> tuple[pa.Schema, int]:
        with self.path.open("rb") as file:
            self.is_file = file.read(6) == b"ARROW1"
            file.seek(-8, 2)
            if not self.is_file and file.read() != END_OF_STREAM:
                raise ValueError("its end is missing: it may have been cut off")
        schema, found = self._read()
        return schema, sum(map(len, found))

    def batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        for batch in self._read()[1]:
            chosen = batch.select(columns)
            chosen.validate(full=True)  # a damaged batch would be read out of bounds
            yield chosen

    def _read(self) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        file = pa.memory_map(str(self.path))
        if not self.is_file:
            stream = pa.ipc.open_stream(file)
            return stream.schema, iter(stream)
        reader = pa.ipc.open_file(file)
        return reader.schema, map(reader.get_batch, range(reader.num_record_batches))


class CsvStore(ArrowRows):
    """Vectors in a column, or one column for each dimension. Columns have no names if the first
    line is all numbers, other than 0, 1, 2 and so on. All cells are read as text, so a cell that is
    not a number is an error of its row alone."""

    forms = ("x.csv#COLUMN", "x.csv#FIRST:LAST", "x.tsv")

    def open(self) -> tuple[pa.Schema, int]:
        check_encoding(self.path)
        with self.path.open("rb") as file:
            if not file.read(4).removeprefix(BOM).strip():
                raise NoRows(str(self.path))
            file.seek(-1, 2)
            if file.read() not in b'\n\r"':
                raise ValueError("its last line has no end: it may have been cut off")
        first = self._first_line()
        counted = [str(i) for i in range(len(first))]
        self.named = first == counted or not all(map(is_number, first))
        names = [f"{n}.{first[:i].count(n)}" if n in first[:i] else n for i, n in enumerate(first)]
        self.names = names if self.named else counted
        schema = pa.schema([(name, pa.string()) for name in self.names])
        return schema, sum(map(len, self.batches(self.names[:1])))

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
        rows = {"block_size": BLOCK, "column_names": self.names, "skip_rows": self.named}
        cells = {"include_columns": columns, "null_values": [""], "strings_can_be_null": True}
        texts = dict.fromkeys(self.names, pa.string())
        reader = pa.csv.open_csv(
            self.path,
            pa.csv.ReadOptions(use_threads=False, **rows),
            pa.csv.ParseOptions(delimiter=self.delimiter, newlines_in_values=True),
            pa.csv.ConvertOptions(column_types=texts, **cells),
        )
        for batch in reader:
            yield from (batch.slice(i, HEAD) for i in range(0, len(batch), HEAD))


class DeltaStore(ArrowRows):
    """The newest version of a table of Parquet files, whose log says which of them count."""

    forms = ("delta:PATH#COLUMN",)
    extra = "delta"

    def open(self) -> tuple[pa.Schema, int]:
        deltalake = import_client("deltalake", self.extra)
        if not (self.path / "_delta_log").is_dir():
            raise UserError(f"{self.path}: not a Delta table")
        self.table = deltalake.DeltaTable(str(self.path))
        self.data = self.table.to_pyarrow_dataset()
        return self.data.schema, self.data.count_rows()

    def batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        yield from self.data.to_batches(columns=columns)

    def contents(self) -> str:
        return file_fingerprint(self.path / "_delta_log" / f"{self.table.version():020}.json")


class LanceStore(ArrowRows):
    """A LanceDB table, read as it was when it was opened."""

    forms = ("lancedb:PATH#TABLE", "lancedb:PATH#TABLE.COLUMN")
    extra = "lancedb"
    mark = "."

    def __init__(self, where: str, key: str, ids: str | None):
        lancedb = import_client("lancedb", self.extra)
        if not Path(where).is_dir():
            raise UserError(f"{where}: no such folder")
        database = lancedb.connect(where)
        names = list(database.table_names(limit=100_000))
        name, column = split_key(key, names)
        self.table = database.open_table(pick(f"lancedb:{where}", name, names))
        self.table.checkout(self.table.version)
        super().__init__(f"lancedb:{where}#{self.table.name}", column, ids)

    def open(self) -> tuple[pa.Schema, int]:
        return self.table.schema, self.table.count_rows()

    def batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        yield from self.table.search().select(columns).to_batches(HEAD)

    def contents(self) -> str:
        # A table that was made anew may have the same version, so its first and last rows count.
        count, rows = self.table.count_rows(), self.table.search().select([*self.vectors.columns])
        ends = [rows.offset(at).limit(256).to_list() for at in (0, max(0, count - 256))]
        return digest(count, self.table.version, ends)


def choose_vectors(name: str, head: pa.RecordBatch, key: str, ids: str | None) -> Vectors:
    """Find the vectors of a table from its first rows. A UserError if there are none."""
    columns = head.schema.names
    check_ids(name, ids, columns)
    head = head.slice(0, HEAD)
    numbers = [n for n in columns if n != ids and _is_number(head.column(n))]
    cells = [
        _plain(head.column(n)).drop_null().slice(0, 1 if n in numbers else LOOKED_AT).to_pylist()
        for n in columns
    ]
    rows = [dict(zip(columns, row, strict=True)) for row in zip_longest(*cells)]
    found = vectors_in(rows)
    chosen = [n for n in numbers if n not in COUNTING] if not key and not found else []
    for i, letter in enumerate(key if key not in found else ""):
        # Names may hold colons.
        if letter == ":" and {key[:i], key[i + 1 :]} <= {*columns}:
            chosen = columns[columns.index(key[:i]) : columns.index(key[i + 1 :]) + 1]
    if wrong := sorted({*chosen} - {*numbers}):
        raise UserError(f"{name}: {', '.join(wrong)} in {key} are not columns of numbers")
    if len(chosen) > 1:
        return Vectors(key, tuple(chosen), _kind(head.schema.field(chosen[0]).type))
    key, way, decode = choose(name, rows, key)
    if all(isinstance(part, str) for part in way):
        numbers_of = getattr(_lists(head, way).type, "value_type", pa.null())
        if types.is_integer(numbers_of) or types.is_floating(numbers_of):
            return Vectors(key, (str(way[0]),), _kind(numbers_of), way)
    return Vectors(key, (str(way[0]),), decode.kind, way, decode)


def _plain(values: pa.Array) -> pa.Array:
    """The lists within tensors and other extension types."""
    return values.storage if isinstance(values, pa.ExtensionArray) else values


def _lists(batch: pa.RecordBatch, way: Way) -> pa.Array:
    """The values at a way through structs."""
    values = _plain(batch.column(way[0]))
    for field in way[1:]:
        values = _plain(pc.struct_field(values, [field]))
    return values


def _kind(kind: pa.DataType) -> str:
    return str(np.dtype(kind.to_pandas_dtype())).replace("object", "text")


def _is_number(values: pa.Array) -> bool:
    """Whether a column holds numbers, possibly as text."""
    try:
        pc.cast(values, pa.float64())
    except pa.ArrowException:
        return False
    empty = values.null_count == len(values) and _kind(values.type) == "text"
    return not empty and not types.is_boolean(values.type)
