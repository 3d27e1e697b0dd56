"""Mutated files of every kind: each is either read or refused in one line, and a file cut short is
always refused.

python benchmarks/fuzz.py --files 2000
"""

from __future__ import annotations

import faulthandler
import json
import os
import random
import resource
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tyro
from safetensors.numpy import save_file

from nanov2t.core.errors import UserError
from nanov2t.stores.faiss import read_faiss
from nanov2t.stores.registry import open_source

ROWS, DIM, SECONDS = 40, 8, 30


def write_all(folder: Path) -> list[Path]:
    """A small whole file of each kind."""
    vectors = np.random.default_rng(0).standard_normal((ROWS, DIM), np.float32)
    np.save(folder / "a.npy", vectors)
    np.savez(folder / "a.npz", vectors=vectors)
    np.savez_compressed(folder / "packed.npz", vectors=vectors)
    column = pa.FixedSizeListArray.from_arrays(vectors.ravel(), DIM)
    pq.write_table(
        pa.table({"vector": column}),
        folder / "a.parquet",
        row_group_size=16,
        write_page_checksum=True,
    )
    pq.write_table(pa.table({"vector": vectors.tolist()}), folder / "lists.parquet")
    (folder / "a.jsonl").write_text(
        "".join(json.dumps({"vector": row}) + "\n" for row in vectors.tolist())
    )
    save_file({"vector": vectors}, folder / "a.safetensors")
    flat, lists = faiss.IndexFlatIP(DIM), faiss.index_factory(DIM, "IVF2,SQ8")
    for name, index in (
        ("flat", flat),
        ("ivf", lists),
        ("hnsw", faiss.index_factory(DIM, "HNSW4")),
    ):
        index.train(vectors)
        index.add(vectors)
        faiss.write_index(index, str(folder / f"{name}.faiss"))
    return sorted(folder.iterdir())


def mutate(content: bytes, chance: random.Random) -> bytes:
    """The content with bytes changed, cut out, doubled or zeroed, mostly near an end, where formats
    keep facts."""
    if chance.random() < 0.2:
        return content[: chance.randrange(len(content))]
    changed = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 8))):
        spread = chance.choice((64, 512, len(content)))
        at = chance.randrange(min(spread, len(changed)) or 1)
        at = at if chance.random() < 0.5 else max(0, len(changed) - 1 - at)
        length = chance.choice((1, 1, 4, 16))
        new = chance.choice(
            (
                bytes([chance.randrange(256)]),
                b"\0" * length,
                b"\xff" * length,
                b"",
                bytes(changed[at : at + length]) * 2,
                chance.choice((b"[[" * 500, b"9" * 400, b"-1", b"\n")),
            )
        )
        changed[at : at + (length if len(new) != 1 else 1)] = new
    return bytes(changed)


def read(path: Path) -> str:
    """How reading a file ends, what is neither read nor refused being raised."""
    signal.alarm(SECONDS)
    try:
        source = open_source(str(path))
        for start in range(0, source.count, 16):
            source.read(start, min(start + 16, source.count))
    except UserError as error:
        assert "\n" not in str(error) and str(error), error
        return "refused"
    finally:
        signal.alarm(0)
    return "read"


def read_index(path: Path) -> str:
    """The same of a FAISS index: first in a fork, since it may crash; what crashes must then be
    refused."""
    child = os.fork()
    if not child:
        faulthandler.disable()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        resource.setrlimit(resource.RLIMIT_AS, (2**33, 2**33))
        signal.alarm(SECONDS)
        try:
            count, _, fetch = read_faiss(str(path))
            fetch(0, min(count, 1024))
        except Exception:
            os._exit(1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status != -signal.SIGALRM, "hangs"
    if status < 0:
        return f"crashes FAISS, {read(path)}"
    return "refused" if status else "read"


def fuzz(path: Path, files: int, seed: int = 0) -> Counter[str]:
    """How reading mutations of a file ends, counted."""
    chance, content, ends = random.Random(seed), path.read_bytes(), Counter()
    copy = path.with_name(f"mutated{path.suffix}")
    for i in range(files):
        changed = mutate(content, chance)
        copy.write_bytes(changed)
        reader: Callable[[Path], str] = read_index if path.suffix == ".faiss" else read
        try:
            end = reader(copy)
        except BaseException as error:
            raise AssertionError(f"{path.name}, mutation {i} of seed {seed}: {error!r}") from error
        cut = len(changed) < len(content) and content.startswith(changed)
        # Whole lines are a whole file: where .jsonl was cut between two, nothing can tell.
        if cut and not (path.suffix == ".jsonl" and changed.endswith((b"\n", b"}"))):
            assert end.endswith("refused"), (
                f"{path.name}: cut at {len(changed)} of {len(content)}, taken for whole"
            )
        ends[end] += 1
    copy.unlink()
    return ends


@dataclass
class Fuzz:
    files: int = 2000
    """Mutations of each file."""


if __name__ == "__main__":
    options = tyro.cli(Fuzz)
    with tempfile.TemporaryDirectory() as folder:
        for path in write_all(Path(folder)):
            print(path.name, dict(fuzz(path, options.files)), flush=True)
    sys.exit(0)
