"""The rows of a run as a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from nanov2t.stores.base import Rows

if TYPE_CHECKING:
    from nanov2t.inverter import Inverter
    from nanov2t.search.base import OnRound
    from nanov2t.search.state import Inversion

FOUND = {
    "inverted": pa.string(),
    "cosine": pa.float64(),
    "stopped": pa.string(),
    "rounds": pa.int32(),
    "embedder_calls": pa.int32(),
}
"""Columns of an inversion."""


class OpenRows:
    """Rows that are being inverted.

    Args:
        rows: of a store.
        integer_ids: as in the store.
        saved: the cells of rows that are done already, by index.
    """

    def __init__(
        self, rows: Rows, integer_ids: bool, saved: Mapping[int, dict[str, Any]] | None = None
    ):
        saved = saved or {}
        self._rows, self._integer_ids = rows, integer_ids
        self._cells = [
            {"id": id_, "error": rows.errors.get(i)} | saved.get(i, {})
            for i, id_ in enumerate(rows.ids)
        ]
        self._open = [i for i in range(len(rows.ids)) if i not in rows.errors and i not in saved]

    def invert(
        self, inverter: Inverter, rounds: int, beam: int, on_round: OnRound | None = None
    ) -> Iterator[None]:
        """Invert the rows that are not done; yields after each."""
        vectors = self._rows.vectors[self._open]
        for i, found in inverter.stream(vectors, rounds, beam, on_round=on_round):
            self._cells[self._open[i]] |= cells_of(found)
            yield

    def table(self) -> pa.Table:
        """All rows; those that are not done have neither text nor error."""
        return as_table(self._cells, self._integer_ids)

    def parquet(self) -> memoryview:
        """The table as a Parquet file."""
        buffer = pa.BufferOutputStream()
        pq.write_table(self.table(), buffer)
        return memoryview(buffer.getvalue())


def cells_of(found: Inversion) -> dict[str, Any]:
    """The cells of an inversion, by column."""
    return {
        "inverted": found.text,
        "cosine": found.cosine,
        "stopped": found.stopped,
        "rounds": len(found.rounds) - 1,
        "embedder_calls": found.embedder_calls,
    }


def as_table(rows: Sequence[dict[str, Any]], integer_ids: bool) -> pa.Table:
    """A table with the columns id, those of :data:`FOUND`, and error; null where a row has none."""
    id_ = pa.int64() if integer_ids else pa.string()
    return pa.Table.from_pylist(list(rows), pa.schema({"id": id_} | FOUND | {"error": pa.string()}))
