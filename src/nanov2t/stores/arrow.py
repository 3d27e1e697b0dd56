"""Arrow tables: Parquet, Feather, Delta and LanceDB.

Vectors are lists of numbers (also within structs), any other value that
:mod:`nanov2t.stores.values` decodes, or one column for each dimension.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import types

from nanov2t.core.errors import UserError
from nanov2t.core.files import digest, file_fingerprint
from nanov2t.core.imports import import_client
from nanov2t.stores.base import HEAD, ForwardStore, NoRows
from nanov2t.stores.choosing import (
    Way,
    check_ids,
    choose,
    path_name,
    pick,
    split_key,
    values_at,
    vector_paths,
)
from nanov2t.stores.values import Decoder

COUNTING = ("", "id", "index", "Unnamed: 0", "__index_level_0__")
"""Columns of numbers that usually count the rows when the others are dimensions."""
END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"
DECIMAL_COMMA = r"^\s*-?\d*,?\d+([eE][-+]?\d+)?\s*$"


@dataclass(frozen=True)
class Vectors:
    """Where a table keeps its vectors."""

    name: str
    """What users write after the `#`."""
    columns: tuple[str, ...]
    """One column, or one for each dimension."""
    kind: str
    """The type of the numbers, or `text`."""
    way: Way = ()
    """From the row to the vector."""
    decode: Decoder | None = None
    """Decodes values that are not Arrow's lists of numbers."""

    def of(self, batch: pa.RecordBatch) -> Sequence[Any] | np.ndarray:
        """A vector for each row: [n, dim], or a list with None or a reason for a missing one."""
        if len(self.columns) > 1:
            return _side_by_side([batch.column(name) for name in self.columns])
        if self.decode is not None:
            rows = self.each(batch)
            return [row[0] if len(row) == 1 else f"{len(row)} vectors, not one" for row in rows]
        values = _plain(batch.column(self.columns[0]))
        for field in self.way[1:]:
            values = _plain(pc.struct_field(values, [field]))
        if types.is_fixed_size_list(values.type) and not values.null_count:
            numbers = values.flatten().to_numpy(zero_copy_only=False)
            return np.asarray(numbers.reshape(len(values), -1))
        return [
            row.values.to_numpy(zero_copy_only=False) if row.is_valid else None for row in values
        ]

    @property
    def several(self) -> bool:
        """Whether a row may hold a list of vectors."""
        return None in self.way

    def each(self, batch: pa.RecordBatch) -> list[list[Any]]:
        """All vectors of each row; [None] if it has none."""
        assert self.decode is not None
        values = _plain(batch.column(self.columns[0])).to_pylist()
        return [[*map(self.decode, values_at(v, self.way[1:]))] or [None] for v in values]


class ArrowRows(ForwardStore):
    """A table that is read batch by batch."""

    takes_ids = True
    mark = "#"
    """Between the source and the name of its vectors."""

    def __init__(self, where: str, key: str, ids: str | None):
        self.path, self.ids = Path(where), ids
        schema, count = self.open()
        if not count:
            raise NoRows(where)
        head = next(batch for batch in self.batches(schema.names) if len(batch))
        self.vectors = choose_vectors(where, head, key, ids)
        if self.vectors.several:
            count = sum(map(len, (row for b in self._batches() for row in self.vectors.each(b))))
        integers = not ids or types.is_signed_integer(schema.field(ids).type)
        name = f"{where}{self.mark}{self.vectors.name}" if self.vectors.name else where
        self.describe(name, self.vectors.kind, count, self.contents(), integers)

    @abstractmethod
    def open(self) -> tuple[pa.Schema, int]:
        """The columns, and the number of rows."""

    @abstractmethod
    def batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """All rows of some columns."""

    def contents(self) -> str:
        """The fingerprint."""
        return file_fingerprint(self.path)

    def rows(self) -> Iterator[tuple[Any, Any]]:
        for batch in self._batches():
            ids = batch.column(self.ids).to_pylist() if self.ids else [None] * len(batch)
            if self.vectors.several:
                rows = zip(ids, self.vectors.each(batch), strict=True)
                yield from ((id_, vector) for id_, vectors in rows for vector in vectors)
            else:
                yield from zip(ids, self.vectors.of(batch), strict=True)

    def _batches(self) -> Iterator[pa.RecordBatch]:
        return self.batches(list({*self.vectors.columns, *filter(None, [self.ids])}))


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


class DeltaStore(ArrowRows):
    """The newest version of a table: Parquet files, and a log that says which of them count."""

    schemes = ("delta",)
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
        # The log entry of a version has its own time and contents.
        return file_fingerprint(self.path / "_delta_log" / f"{self.table.version():020}.json")


class LanceStore(ArrowRows):
    """A LanceDB table, read as it was when it was opened."""

    schemes = ("lancedb",)
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
        # A table that was made anew may have the same version, so its ends count too.
        count, rows = self.table.count_rows(), self.table.search().select([*self.vectors.columns])
        ends = [rows.offset(at).limit(256).to_list() for at in (0, max(0, count - 256))]
        return digest(count, self.table.version, ends)


def choose_vectors(name: str, head: pa.RecordBatch, key: str, ids: str | None) -> Vectors:
    """Find the vectors of a table from its first rows.

    Raises:
        UserError: the key names none, there are several and no key, or the column of ids is
            missing.
    """
    columns = head.schema.names
    check_ids(name, ids, columns)
    head = head.slice(0, HEAD)
    lists = {path_name(way): (way, kind) for f in head.schema for way, kind in _lists(f, ())}
    numbers = [n for n in columns if n != ids and _is_number(head.column(n))]
    others = [n for n in columns if n not in lists and n not in numbers]
    rows = [*_rows(head.slice(0, 1), columns), *_rows(head, others)]
    found = vector_paths(rows[1:]) | lists
    if key not in found and (chosen := _between(columns, key)):
        if wrong := sorted({*chosen} - {*numbers}):
            raise UserError(f"{name}: {', '.join(wrong)} in {key} are not columns of numbers")
        return _dimensions(key, chosen, head)
    dimensions = [n for n in numbers if n not in COUNTING]
    if not key and not found and len(dimensions) > 1:
        return _dimensions("", dimensions, head)
    if not found and any(_has_decimal_commas(head.column(n)) for n in others):
        raise UserError(f"{name}: numbers with decimal commas: save them with decimal points")
    key, way, decode = choose(name, rows, key, found)
    return Vectors(key, (str(way[0]),), decode.kind, way, None if key in lists else decode)


def _rows(batch: pa.RecordBatch, columns: list[str]) -> list[Any]:
    values = [_plain(batch.column(name)).to_pylist() for name in columns]
    return [dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True)]


def _lists(field: pa.Field, above: tuple[str, ...]) -> Iterator[tuple[Way, Decoder]]:
    """The lists of numbers in a column, and in the fields of structs."""
    way, kind = (*above, field.name), field.type
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    if types.is_struct(kind):
        for inner in kind:
            yield from _lists(inner, way)
    elif (
        types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    ) and _is_numeric(kind.value_type):
        yield way, Decoder(_numpy_name(kind.value_type))


def _plain(values: pa.Array) -> pa.Array:
    """The lists within tensors and other extension types."""
    return values.storage if isinstance(values, pa.ExtensionArray) else values


def _between(columns: list[str], key: str) -> list[str]:
    """The columns that a key `FIRST:LAST` spans; their names may hold colons."""
    for i, letter in enumerate(key):
        if letter == ":" and {key[:i], key[i + 1 :]} <= {*columns}:
            return columns[columns.index(key[:i]) : columns.index(key[i + 1 :]) + 1]
    return []


def _numpy_name(kind: pa.DataType) -> str:
    return str(np.dtype(kind.to_pandas_dtype()))


def _is_text(kind: pa.DataType) -> bool:
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _is_numeric(kind: pa.DataType) -> bool:
    return bool(types.is_integer(kind) or types.is_floating(kind))


def _is_number(values: pa.Array) -> bool:
    """Whether a column holds numbers, possibly as text."""
    if not _is_text(values.type):
        return _is_numeric(values.type)
    try:
        pc.cast(values, pa.float64())
    except pa.ArrowInvalid:
        return False
    return bool(values.null_count < len(values))


def _has_decimal_commas(values: pa.Array) -> bool:
    if not _is_text(values.type) or not pc.any(pc.match_substring(values, ",")).as_py():
        return False
    return bool(pc.all(pc.match_substring_regex(values, DECIMAL_COMMA)).as_py())


def _dimensions(key: str, columns: Sequence[str], head: pa.RecordBatch) -> Vectors:
    kind = head.column(columns[0]).type
    return Vectors(key, tuple(columns), "text" if _is_text(kind) else _numpy_name(kind))


def _side_by_side(columns: Sequence[pa.Array]) -> Sequence[Any] | np.ndarray:
    """Vectors from one column for each dimension."""
    try:
        numbers = [pc.cast(column, pa.float64()) for column in columns]
    except pa.ArrowInvalid:  # one bad row: each is then judged by itself
        return list(zip(*(column.to_pylist() for column in columns), strict=True))
    return np.stack([column.to_numpy(zero_copy_only=False) for column in numbers], axis=1)
