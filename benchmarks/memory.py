"""Peak memory of the search by the number of vectors that stream through it, each in a process of
its own.

    python benchmarks/tiny.py runs/tiny --tokens 8
    python benchmarks/memory.py runs/tiny/inverter [--rows 1000 10000]

The vectors are random and made on demand, so only the search's memory can grow.
"""

import resource
import subprocess
import sys
import time
from dataclasses import dataclass

import numpy as np
import tyro

from nanov2t import load_inverter


@dataclass
class Options:
    inverter: tyro.conf.Positional[str]
    rows: tuple[int, ...] = (1000, 10000)
    rounds: int = 2
    beam: int = 4


def main(options: Options) -> None:
    if len(options.rows) > 1:
        for rows in options.rows:
            subprocess.run(
                [
                    sys.executable,
                    __file__,
                    options.inverter,
                    "--rows",
                    f"{rows}",
                    "--rounds",
                    f"{options.rounds}",
                    "--beam",
                    f"{options.beam}",
                ],
                check=True,
            )
        return
    inverter, began = load_inverter(options.inverter), time.perf_counter()
    random = np.random.default_rng(0)
    directions = (
        random.standard_normal(inverter.embedder.dim, np.float32) for _ in range(*options.rows)
    )
    vectors = (direction / np.linalg.norm(direction) for direction in directions)
    inverter = inverter.with_options(rounds=options.rounds, beam=options.beam)
    count = sum(1 for _ in inverter.stream(vectors))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(f"{count} vectors: {peak:.0f} MiB, {time.perf_counter() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main(tyro.cli(Options))
