"""What an evaluation leaves in a folder: the figures of every round, and what was found."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from nanov2t.core.errors import UserError
from nanov2t.core.files import write_whole
from nanov2t.search.state import Inversion

HYPOTHESES = pa.list_(pa.struct([("text", pa.string()), ("cosine", pa.float64())]))
ROUND = pa.struct(
    [
        ("round", pa.int32()),
        ("text", pa.string()),
        ("cosine", pa.float64()),
        ("embedder_calls", pa.int64()),
        ("seconds", pa.float64()),
        ("hypotheses", HYPOTHESES),
    ]
)
SCHEMA = pa.schema(
    [
        ("idx", pa.int64()),
        ("reference", pa.string()),
        ("inverted", pa.string()),
        ("cosine", pa.float64()),
        ("stopped", pa.string()),
        ("embedder_calls", pa.int64()),
        ("seconds", pa.float64()),
        ("rounds", pa.list_(ROUND)),
        ("hypotheses", HYPOTHESES),
    ]
)
"""Of results.parquet: a row a text."""
GROUP = 100
"""Texts written at a time: the hypotheses of all their rounds are many small objects."""


def write_results(
    out: Path,
    result: Mapping[str, Any],
    rows: Sequence[int],
    references: Sequence[str],
    found: Sequence[Inversion],
) -> None:
    """Write metrics.jsonl, a line a round, and results.parquet, a row a text.

    Args:
        result: of :func:`nanov2t.evaluation.evaluate.summarize`.
        rows: the texts' places in what they were read from.

    Raises:
        UserError: they cannot be written.
    """
    buffer = pa.BufferOutputStream()
    with pq.ParquetWriter(buffer, SCHEMA) as writer:
        texts = zip(rows, references, found, strict=True)
        while cells := [_cells(*text) for text in itertools.islice(texts, GROUP)]:
            writer.write_table(pa.Table.from_pylist(cells, SCHEMA))
    lines = "".join(json.dumps(line) + "\n" for line in result["rounds"])
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_whole(out / "results.parquet", memoryview(buffer.getvalue()))
        write_whole(out / "metrics.jsonl", lines.encode())
    except OSError as error:
        raise UserError(f"{out}: {error.strerror}") from None


def _cells(row: int, reference: str, found: Inversion) -> dict[str, Any]:
    return {
        "idx": row,
        "reference": reference,
        "inverted": found.text,
        "seconds": found.rounds[-1].seconds,
    } | asdict(found)
