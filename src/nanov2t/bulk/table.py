"""Rows that were inverted, as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from nanov2t.search.state import Inversion


def cells_of(found: Inversion) -> dict[str, Any]:
    """What a row says of an inversion, by column."""
    return {
        "inverted": found.text,
        "cosine": found.cosine,
        "stopped": found.stopped,
        "rounds": len(found.rounds) - 1,
        "embedder_calls": found.embedder_calls,
    }


def as_table(rows: Sequence[dict[str, Any]], integer_ids: bool) -> pa.Table:
    """Rows with an `id`, and an `error` or the cells of an inversion: a table with the columns id,
    inverted, cosine, stopped, rounds, embedder_calls and error, null where a row has none."""
    schema = [
        ("id", pa.int64() if integer_ids else pa.string()),
        ("inverted", pa.string()),
        ("cosine", pa.float64()),
        ("stopped", pa.string()),
        ("rounds", pa.int32()),
        ("embedder_calls", pa.int32()),
        ("error", pa.string()),
    ]
    return pa.Table.from_pylist(list(rows), pa.schema(schema))
