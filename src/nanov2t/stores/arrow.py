"""Columns of vectors in Arrow's memory, which Parquet files and LanceDB's tables are read into."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from nanov2t.core.errors import UserError
from nanov2t.stores.base import pick


def choose_columns(
    name: str, schema: pa.Schema, key: str, ids: str | None
) -> tuple[str, str, bool]:
    """The column of the vectors, the type of its numbers, and whether the ids are integers.

    Raises:
        UserError: there is no such column.
    """
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    of_lists = [field.name for field in schema if any(is_list(field.type) for is_list in lists)]
    column = pick(name, key, of_lists)
    if ids and ids not in schema.names:
        raise UserError(f"{name}: no column {ids}, only {', '.join(schema.names)}")
    kind = np.dtype(schema.field(column).type.value_type.to_pandas_dtype()).name
    return column, kind, not ids or pa.types.is_signed_integer(schema.field(ids).type)


def batch_rows(
    batch: pa.RecordBatch, column: str, ids: str | None, start: int
) -> Iterator[tuple[Any, Any]]:
    """Ids and vectors of a batch that starts at row `start`."""
    vectors = batch.column(column)
    rows: Iterable[Any]
    if pa.types.is_fixed_size_list(vectors.type) and not vectors.null_count:
        rows = vectors.flatten().to_numpy(zero_copy_only=False).reshape(len(vectors), -1)
    else:
        rows = (
            row.values.to_numpy(zero_copy_only=False) if row.is_valid else None for row in vectors
        )
    return zip(batch.column(ids).to_pylist() if ids else itertools.count(start), rows, strict=False)
