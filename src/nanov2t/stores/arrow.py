"""Vectors in tables of Arrow's, which many formats are read into.

They are lists of numbers, also within structs; strings that hold lists; or one column a dimension.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nanov2t.core.errors import UserError
from nanov2t.stores.base import ForwardStore, NoRows, file_fingerprint, pick
from nanov2t.stores.text import holds_numbers, parse_vector

COUNTING = ("", "id", "index", "Unnamed: 0", "__index_level_0__")
"""Columns of numbers that count the rows, as a rule, where every other one is a dimension."""


@dataclass(frozen=True)
class Vectors:
    """Where the vectors of a table stand."""

    name: str
    """What users write after the `#`."""
    columns: tuple[str, ...]
    """The columns that are read: one, or one a dimension."""
    kind: str
    """Of the numbers: `text`, or a type."""
    fields: tuple[str, ...] = ()
    """The way down from the column through structs."""

    def of(self, batch: pa.RecordBatch) -> Sequence[Any] | np.ndarray:
        """The vectors of a batch: [n, dim], or one a row, with None where there is none, or a
        string that says why."""
        if len(self.columns) > 1:
            return _side_by_side([batch.column(name) for name in self.columns])
        values = batch.column(self.columns[0])
        if self.fields:
            values = pc.struct_field(values, list(self.fields))
        if self.kind == "text":
            return [text if text is None else parse_vector(text) for text in values.to_pylist()]
        if pa.types.is_fixed_size_list(values.type) and not values.null_count:
            numbers = values.flatten().to_numpy(zero_copy_only=False)
            return np.asarray(numbers.reshape(len(values), -1))
        return [
            row.values.to_numpy(zero_copy_only=False) if row.is_valid else None for row in values
        ]


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
        for batch in self.batches(list({*self.vectors.columns, *filter(None, [self.ids])})):
            vectors = self.vectors.of(batch)
            ids = batch.column(self.ids).to_pylist() if self.ids else [None] * len(batch)
            yield from zip(ids, vectors, strict=True)


def choose_vectors(name: str, head: pa.RecordBatch, key: str, ids: str | None) -> Vectors:
    """Find the vectors of a table by its first rows.

    Raises:
        UserError: there are none of that name, or several without one; or there is no column of
            the ids.
    """
    columns = head.schema.names
    if ids and ids not in columns:
        raise UserError(f"{name}: no column {ids}, only {', '.join(columns)}")
    found = {v.name: v for field in head.schema for v in _lists(field, (), head)}
    numbers = [n for n in columns if n != ids and _is_number(head.column(n))]
    first, colon, last = key.partition(":")
    if colon and {first, last} <= set(columns):
        chosen = columns[columns.index(first) : columns.index(last) + 1]
        if others := sorted({*chosen} - {*numbers}):
            raise UserError(f"{name}: {', '.join(others)} in {key} are not columns of numbers")
        return _dimensions(key, chosen, head)
    dimensions = [n for n in numbers if n not in COUNTING]
    if not key and not found and len(dimensions) > 1:
        return _dimensions("", dimensions, head)
    if not found:
        raise UserError(
            f"{name}: no vectors{' ' * bool(key)}{key} in its columns {', '.join(columns)}"
        )
    return found[pick(name, key, found)]


def _lists(field: pa.Field, above: tuple[str, ...], head: pa.RecordBatch) -> Iterator[Vectors]:
    """The lists of numbers in a column, and in the fields of structs."""
    path, kind = (*above, field.name), field.type
    if pa.types.is_struct(kind):
        for inner in kind:
            yield from _lists(inner, path, head)
    found = Vectors(".".join(path), path[:1], "text", path[1:])
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        if _is_numeric(kind.value_type):
            yield replace(found, kind=_numpy_name(kind.value_type))
    elif _is_text(kind):
        values = head.column(path[0])
        values = pc.struct_field(values, list(path[1:])) if above else values
        if any(map(holds_numbers, values.to_pylist())):
            yield found


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
