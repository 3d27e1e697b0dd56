"""The figures of a report as Parquet, for notebooks and dashboards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from nanov2t.audit.leakage import SCORES
from nanov2t.audit.utility import MEASURES
from nanov2t.core.files import write_whole

FIGURE = [("value", pa.float64()), ("low", pa.float64()), ("high", pa.float64())]
ATTACK = [("defence", pa.string()), ("attacker", pa.string()), ("tokens", pa.int64())]
LEAKAGE = pa.schema(
    [*ATTACK, ("figure", pa.string()), ("n", pa.int64()), *FIGURE, ("control", pa.float64())]
)
RETRIEVAL = pa.schema(
    [("defence", pa.string()), ("figure", pa.string()), ("n", pa.int64()), *FIGURE]
)
RECORDS = pa.schema(
    [*ATTACK, ("text", pa.string()), ("found", pa.string()), ("cosine", pa.float64())]
)
Report = Mapping[str, Any]


def write_tables(out: Path, report: Report) -> None:
    """Write leakage.parquet (a row for each attacker, length and figure, kinds of content among
    them), retrieval.parquet and records.parquet (empty where texts are withheld).

    Raises:
        OSError: they cannot be written.
    """
    tables = {
        "leakage": (LEAKAGE, _leakage(report)),
        "retrieval": (RETRIEVAL, _retrieval(report)),
        "records": (RECORDS, _records(report)),
    }
    for name, (schema, rows) in tables.items():
        buffer = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(list(rows), schema), buffer)
        write_whole(out / f"{name}.parquet", memoryview(buffer.getvalue()))


def _figure(name: str, figure: Report) -> dict[str, Any]:
    low, high = figure["ci95"]
    return {"figure": name, "value": figure["value"], "low": low, "high": high}


def _attacks(report: Report) -> Iterator[tuple[dict[str, Any], Report]]:
    """What names each attack, and its figures."""
    for row in report["defences"]:
        for attacker in row["attackers"]:
            for length in attacker["lengths"]:
                names = {"defence": row["defence"], "attacker": attacker["name"]}
                yield names | {"tokens": length["tokens"]}, length


def _leakage(report: Report) -> Iterator[dict[str, Any]]:
    for names, length in _attacks(report):
        control = length["control"]
        for name in SCORES:
            by_chance = {"n": length["n"], "control": control[name]["value"]}
            yield names | _figure(name, length[name]) | by_chance
        for kind, figure in length["kinds"].items():
            by_chance = {"n": figure["n"], "control": control["kinds"][kind]["value"]}
            yield names | _figure(kind, figure) | by_chance


def _retrieval(report: Report) -> Iterator[dict[str, Any]]:
    for row in report["defences"]:
        count = {"defence": row["defence"], "n": report["retrieval"]["queries"]}
        yield from (count | _figure(name, row["utility"][name]) for name in MEASURES)


def _records(report: Report) -> Iterator[dict[str, Any]]:
    for names, length in _attacks(report):
        yield from (names | record for record in length["worst"])
