"""The figures of inversions: what `evaluate` prints and writes, and what training logs."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from nanov2t.core.errors import UserError
from nanov2t.core.files import write_whole
from nanov2t.evaluation import metrics
from nanov2t.search.state import Inversion

HYPOTHESES = pa.list_(pa.struct([("text", pa.string()), ("cosine", pa.float64())]))
ROUND = pa.struct(
    {
        "round": pa.int32(),
        "text": pa.string(),
        "cosine": pa.float64(),
        "embedder_calls": pa.int64(),
        "seconds": pa.float64(),
        "hypotheses": HYPOTHESES,
    }
)
SCHEMA = pa.schema(
    {
        "idx": pa.int64(),
        "reference": pa.string(),
        "inverted": pa.string(),
        "cosine": pa.float64(),
        "stopped": pa.string(),
        "embedder_calls": pa.int64(),
        "seconds": pa.float64(),
        "rounds": pa.list_(ROUND),
        "hypotheses": HYPOTHESES,
    }
)
"""Columns of results.parquet, which has a row for each text."""
GROUP = 100
"""Texts written at a time, since the hypotheses of all rounds are many small objects."""


def summarize(found: Sequence[Inversion], references: Sequence[str]) -> dict[str, Any]:
    """Compare inversions with the texts that they should be.

    Returns:
        For every round the means over all texts, with the seconds and embedder calls so far. A text
        whose search has stopped keeps its answer. For the last round also 95 % bootstrap intervals.
        BLEU, token F1 and exact match run from 0 to 100; `bleu_seed` is nanoV2T's BLEU.
    """
    per_round, scores = [], {}
    for r in range(max(len(inversion.rounds) for inversion in found)):
        best = [inversion.rounds[min(r, len(inversion.rounds) - 1)] for inversion in found]
        texts = [b.text for b in best]
        scores = {
            "bleu": metrics.bleu(texts, references),
            "bleu_seed": metrics.bleu_seed(texts, references),
            "token_f1": metrics.token_f1(texts, references),
            "exact_match": metrics.exact_match(texts, references),
            "cosine": np.array([b.cosine for b in best]),
        }
        means = {name: float(values.mean()) for name, values in scores.items()}
        seconds, calls = sum(b.seconds for b in best), sum(b.embedder_calls for b in best)
        per_round.append({"round": r} | means | {"seconds": seconds, "embedder_calls": calls})
    last = {
        name: {"value": float(values.mean()), "ci95": metrics.interval(values)}
        for name, values in scores.items()
    }
    return {
        "n": len(found),
        "rounds": per_round,
        **last,
        "embedder_calls_per_text": per_round[-1]["embedder_calls"] / len(found),
        "seconds_per_text": per_round[-1]["seconds"] / len(found),
    }


def write_results(
    out: Path,
    result: Mapping[str, Any],
    rows: Sequence[int],
    references: Sequence[str],
    found: Sequence[Inversion],
) -> None:
    """Write metrics.jsonl, a line for each round of :func:`summarize`, and results.parquet, a row
    for each text. `rows` are the numbers of the texts in their source.

    Raises:
        UserError: the folder cannot be written.
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
    seconds = found.rounds[-1].seconds
    facts = {"idx": row, "reference": reference, "inverted": found.text, "seconds": seconds}
    return facts | asdict(found)
