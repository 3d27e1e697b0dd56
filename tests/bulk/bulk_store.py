"""A store with an inverter, and the rows of a folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from nanov2t import load_inverter
from nanov2t.bulk import BulkRun
from nanov2t.stores.registry import open_source


@dataclass
class Store:
    inverter: Path
    vectors: Path

    def invert(self, out: Path, limit: int | None = None, rounds: int = 0, beam: int = 1) -> None:
        inverter = load_inverter(self.inverter, device="cpu").with_options(rounds=rounds, beam=beam)
        BulkRun(inverter, open_source(str(self.vectors)), out, limit).finish()


def read(out: Path):
    return pq.read_table(sorted(out.glob("part-*.parquet")))
