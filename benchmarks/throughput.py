"""A bulk run against the in-memory API on the same rows: processor seconds of each, in turn.

python benchmarks/throughput.py runs/tiny/vectors.npy --inverter runs/tiny/inverter
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from nanov2t import load_inverter
from nanov2t.bulk import BulkRun
from nanov2t.stores.registry import open_source


@dataclass
class Throughput:
    vectors: tyro.conf.Positional[str]
    inverter: str
    rows: int = 3072
    rounds: int = 0
    beam: int = 1
    repeat: int = 3

    def run(self, folder: Path) -> None:
        inverter = load_inverter(self.inverter, device="cpu")
        inverter = inverter.with_options(rounds=self.rounds, beam=self.beam)
        vectors = np.load(self.vectors, mmap_mode="r")[: self.rows].copy()
        seconds: dict[str, list[float]] = {"in memory": [], "bulk": []}
        for i in range(self.repeat + 1):  # the first is to warm up
            began = time.process_time()
            inverter.invert(vectors)
            between = time.process_time()
            out = folder / str(i)
            source = open_source(self.vectors)
            BulkRun(inverter, source, out, self.rows).finish()
            seconds["in memory"].append(between - began)
            seconds["bulk"].append(time.process_time() - between)
        best = {name: min(spent[1:]) for name, spent in seconds.items()}
        print(best, f"bulk takes {100 * best['bulk'] / best['in memory'] - 100:.1f} % longer")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        tyro.cli(Throughput).run(Path(folder))
