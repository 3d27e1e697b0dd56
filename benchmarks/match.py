"""Peak memory and seconds of looking for texts in a large .npy.

python benchmarks/tiny.py runs/tiny --tokens 3 --rows 1000000
python benchmarks/match.py runs/tiny/vectors.npy texts.txt --limit 1000
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import tyro

from nanov2t.core.passages import read_passages


@dataclass
class Options:
    vectors: tyro.conf.Positional[str]
    texts: tyro.conf.Positional[str]
    limit: int = 1000


def main(options: Options) -> None:
    """Run the command on the first texts, into a folder, in a process of its own."""
    texts = list(islice(read_passages(options.texts), options.limit))
    rows = np.load(options.vectors, mmap_mode="r").shape[0]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "texts.txt").write_text("\n".join(texts), encoding="utf-8")
        command = [sys.executable, "-m", "nanov2t", "match", options.vectors, "--near", "0.95"]
        command += ["--texts", f"{folder}/texts.txt", "--out", f"{folder}/found"]
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**10
    print(f"{rows:,} rows, {len(texts):,} texts: {seconds:.0f} s, peak {peak:.0f} MiB")


if __name__ == "__main__":
    main(tyro.cli(Options))
