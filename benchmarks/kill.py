"""Kill -9 at random moments: two processes, as torchrun starts them, over one run; then compare
with a run left alone.

python benchmarks/tiny.py runs/tiny --rows 60000
python benchmarks/kill.py runs/tiny/vectors.npy --inverter runs/tiny/inverter --kills 30
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import tyro


@dataclass
class Kill:
    vectors: tyro.conf.Positional[str]
    inverter: str
    limit: int = 60000
    kills: int = 30
    longest: float = 45.0
    """Longest life of a process in seconds."""
    seed: int = 0

    def start(self, out: Path, rank: int = 0, processes: int = 1) -> subprocess.Popen:
        command = [
            sys.executable,
            "-m",
            "nanov2t",
            "invert",
            "--vectors",
            self.vectors,
            "--out",
            str(out),
            "--inverter",
            self.inverter,
            "--limit",
            str(self.limit),
            "--rounds",
            "1",
            "--beam",
            "2",
        ]
        ranks = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes)}
        return subprocess.Popen(
            command, env=os.environ | ranks, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )

    def run(self, folder: Path) -> None:
        chance = random.Random(self.seed)
        killed = 0
        running = {
            rank: (self.start(folder / "killed", rank, 2), time.monotonic()) for rank in range(2)
        }
        deaths = {rank: chance.uniform(0, self.longest) for rank in running}
        while running:
            time.sleep(0.01)
            for rank, (process, born) in list(running.items()):
                if process.poll() is not None:
                    assert process.returncode == 0, process.stderr.read().decode()
                    del running[rank]
                elif killed < self.kills and time.monotonic() - born > deaths[rank]:
                    process.send_signal(signal.SIGKILL)
                    process.wait()
                    killed += 1
                    whole = len(list((folder / "killed").glob("part-*")))
                    print(
                        f"kill {killed}: rank {rank} after {deaths[rank]:.1f} s, {whole} parts "
                        f"whole",
                        flush=True,
                    )
                    running[rank] = self.start(folder / "killed", rank, 2), time.monotonic()
                    deaths[rank] = chance.uniform(0, self.longest)
        self.start(folder / "alone").wait()
        ours, theirs = (
            pq.read_table(sorted((folder / name).glob("part-*"))) for name in ("killed", "alone")
        )
        assert sorted(path.name for path in (folder / "killed").iterdir()) == sorted(
            path.name for path in (folder / "alone").iterdir()
        ), "something was left behind"
        assert ours["id"].to_pylist() == list(range(self.limit)), "rows are lost or twice"
        pairs = zip(ours["inverted"].to_pylist(), theirs["inverted"].to_pylist(), strict=True)
        print(
            f"{killed} kills, {ours.num_rows} rows, {sum(a == b for a, b in pairs)} with the texts "
            "of a run left alone"
        )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        tyro.cli(Kill).run(Path(folder))
