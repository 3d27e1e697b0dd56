"""Peak memory and throughput of a bulk run over a large .npy, against those of its first part.

python benchmarks/tiny.py runs/tiny --tokens 3 --rows 1000000
python benchmarks/million.py runs/tiny/vectors.npy --inverter runs/tiny/inverter
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import tyro

PART = 1024


@dataclass
class Million:
    vectors: tyro.conf.Positional[str]
    inverter: str
    rows: int = 1_000_000

    def measure(self, out: Path, rows: int) -> float:
        """Invert the first `rows` and print the progress. Returns the peak memory in MiB."""
        began, told, peak = time.monotonic(), 0, 0.0
        process = subprocess.Popen(
            [
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
                str(rows),
                "--rounds",
                "0",
                "--beam",
                "1",
            ],
            stdout=subprocess.DEVNULL,
        )
        while process.poll() is None:
            time.sleep(0.2)
            status = Path(f"/proc/{process.pid}/status").read_text()
            peak = max([peak, *(int(kib) / 1024 for kib in re.findall(r"VmHWM:\s+(\d+)", status))])
            done = PART * len(list(out.glob("part-*")))
            if done >= told + 100 * PART:
                told = done
                print(
                    f"{done} rows, {done / (time.monotonic() - began):.0f} a second, peak "
                    f"{peak:.0f} MiB",
                    flush=True,
                )
        assert process.returncode == 0
        return peak

    def run(self, folder: Path) -> None:
        first = self.measure(folder / "first", PART)
        print(f"models and one part: {first:.0f} MiB", flush=True)
        peak = self.measure(folder / "all", self.rows)
        print(f"{self.rows} rows: {peak:.0f} MiB, {peak - first:.0f} more")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        tyro.cli(Million).run(Path(folder))
