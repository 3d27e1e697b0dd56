"""Vectors in tables of Arrow's, which many formats are read into.

They are lists of numbers, also within structs; anything else that holds a vector, as of
:mod:`nanov2t.stores.values`; or one column a dimension.
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

from nanov2t.core.errors import UserError
from nanov2t.stores.base import HEAD, ForwardStore, NoRows, file_fingerprint
from nanov2t.stores.choosing import choose, listed
from nanov2t.stores.paths import Way, path_name, values_at, vector_paths
from nanov2t.stores.values import Decoder

COUNTING = ("", "id", "index", "Unnamed: 0", "__index_level_0__")
"""Columns of numbers that count the rows, as a rule, where every other one is a dimension."""
DECIMAL_COMMA = r"^\s*-?\d*,?\d+([eE][-+]?\d+)?\s*$"


@dataclass(frozen=True)
class Vectors:
    """Where the vectors of a table stand."""

    name: str
    """What users write after the `#`."""
    columns: tuple[str, ...]
    """The columns that are read: one, or one a dimension."""
    kind: str
    """Of the numbers: `text`, or a type."""
    path: Way = ()
    """The way from the row to the vector."""
    decode: Decoder | None = None
    """Reads the values, where Arrow does not know them as lists of numbers."""

    def of(self, batch: pa.RecordBatch) -> Sequence[Any] | np.ndarray:
        """One vector a row: [n, dim], or a list, with None where there is none, or a string that
        says why."""
        if len(self.columns) > 1:
            return _side_by_side([batch.column(name) for name in self.columns])
        if self.decode is not None:
            rows = self.each(batch)
            return [row[0] if len(row) == 1 else f"{len(row)} vectors, not one" for row in rows]
        values = batch.column(self.columns[0])
        for field in self.path[1:]:
            values = pc.struct_field(_plain(values), [field])
        values = _plain(values)
        if pa.types.is_fixed_size_list(values.type) and not values.null_count:
            numbers = values.flatten().to_numpy(zero_copy_only=False)
            return np.asarray(numbers.reshape(len(values), -1))
        return [
            row.values.to_numpy(zero_copy_only=False) if row.is_valid else None for row in values
        ]

    @property
    def several(self) -> bool:
        """Whether a row may hold several vectors, in a list."""
        return None in self.path

    def each(self, batch: pa.RecordBatch) -> list[list[Any]]:
        """The vectors of each row; None alone where there are none."""
        assert self.decode is not None
        values = _plain(batch.column(self.columns[0])).to_pylist()
        return [[*map(self.decode, values_at(v, self.path[1:]))] or [None] for v in values]


class ArrowRows(ForwardStore):
    """A file that is read batch by batch."""

    takes_ids = True

    def __init__(self, where: str, key: str, ids: str | None):
        self.path, self.ids = Path(where), ids
        schema, count = self.open()
        if not count:
            raise NoRows(where)
        head = next(batch for batch in self.batches(schema.names) if len(batch))
        self.vectors = choose_vectors(where, head, key, ids)
        if self.vectors.several:
            count = sum(map(len, (row for b in self._batches() for row in self.vectors.each(b))))
        integers = not ids or pa.types.is_signed_integer(schema.field(ids).type)
        name = f"{where}#{self.vectors.name}" if self.vectors.name else where
        self.describe(name, self.vectors.kind, count, file_fingerprint(self.path), integers)

    @abstractmethod
    def open(self) -> tuple[pa.Schema, int]:
        """The columns, and the number of the rows."""

    @abstractmethod
    def batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """All rows of some columns."""

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


def choose_vectors(name: str, head: pa.RecordBatch, key: str, ids: str | None) -> Vectors:
    """Find the vectors of a table by its first rows.

    Raises:
        UserError: there are none of that name, or several without one; or there is no column of
            the ids.
    """
    columns = head.schema.names
    if ids and ids not in columns:
        raise UserError(f"{name}: no column {ids}, only {listed(columns)}")
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
    """Rows as objects."""
    values = [_plain(batch.column(name)).to_pylist() for name in columns]
    return [dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True)]


def _lists(field: pa.Field, above: tuple[str, ...]) -> Iterator[tuple[Way, Decoder]]:
    """The lists of numbers in a column, and in the fields of structs."""
    way, kind = (*above, field.name), _plain_type(field.type)
    if pa.types.is_struct(kind):
        for inner in kind:
            yield from _lists(inner, way)
    elif any(
        is_list(kind)
        for is_list in (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    ) and _is_numeric(kind.value_type):
        yield way, Decoder(_numpy_name(kind.value_type))


def _plain_type(kind: pa.DataType) -> pa.DataType:
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def _plain(values: pa.Array) -> pa.Array:
    """The lists that are within tensors and other types of extensions."""
    return values.storage if isinstance(values, pa.ExtensionArray) else values


def _between(columns: list[str], key: str) -> list[str]:
    """The columns from the first to the last that a key `FIRST:LAST` names; their names may hold
    colons."""
    for i, letter in enumerate(key):
        if letter == ":" and {key[:i], key[i + 1 :]} <= {*columns}:
            return columns[columns.index(key[:i]) : columns.index(key[i + 1 :]) + 1]
    return []


def _numpy_name(kind: pa.DataType) -> str:
    return str(np.dtype(kind.to_pandas_dtype()))


def _is_text(kind: pa.DataType) -> bool:
    return any(
        is_(kind) for is_ in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    )


def _is_numeric(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _is_number(values: pa.Array) -> bool:
    """Whether a column holds numbers, be they written as text."""
    if not _is_text(values.type):
        return _is_numeric(values.type)
    try:
        pc.cast(values, pa.float64())
    except pa.ArrowInvalid:
        return False
    return bool(values.null_count < len(values))


def _has_decimal_commas(values: pa.Array) -> bool:
    """Whether the cells of a column are numbers, some such as 0,5."""
    if not _is_text(values.type) or not pc.any(pc.match_substring(values, ",")).as_py():
        return False
    return bool(pc.all(pc.match_substring_regex(values, DECIMAL_COMMA)).as_py())


def _dimensions(key: str, columns: Sequence[str], head: pa.RecordBatch) -> Vectors:
    kind = head.column(columns[0]).type
    return Vectors(key, tuple(columns), "text" if _is_text(kind) else _numpy_name(kind))


def _side_by_side(columns: Sequence[pa.Array]) -> Sequence[Any] | np.ndarray:
    """Vectors out of one column a dimension."""
    try:
        numbers = [pc.cast(column, pa.float64()) for column in columns]
    except pa.ArrowInvalid:  # some row of this batch; each is then judged by itself
        return list(zip(*(column.to_pylist() for column in columns), strict=True))
    return np.stack([column.to_numpy(zero_copy_only=False) for column in numbers], axis=1)
