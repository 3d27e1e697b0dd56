"""Mutated files of every kind, also of those in the folders of databases: each is either read or
refused in one line, and a file cut short is always refused.

NANOV2T_FUZZ sets the number of mutations of each kind:

    NANOV2T_FUZZ=2000 pytest tests/stores/test_fuzz.py
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import random
import resource
import shutil
import signal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from binaries import Hdf5, Sqlite, SqliteText, SqliteVec, Zarr
from databases import Milvus, Qdrant
from kinds import (
    FaissFlat,
    FaissGraph,
    File,
    Jsonl,
    Kind,
    Npy,
    ParquetLists,
    Safetensors,
    installed,
)
from tables import TABLES

from nanov2t.core.errors import UserError
from nanov2t.stores.faiss import FaissStore
from nanov2t.stores.registry import open_source

FILE, FOLDER, SLOW = (int(os.environ.get("NANOV2T_FUZZ", n)) for n in (300, 100, 3))
"""Mutations of a file, of a folder, and of a database that starts a server for each."""
ROWS, SECONDS = 40, 30
NAMES = [f"row {i}" for i in range(ROWS)]


class ParquetChecked(ParquetLists):
    """With checksums, and a type of lists of one length."""

    def save(self, path, rows, names):
        table = pa.table({"vector": pa.array(rows, pa.list_(pa.float32(), len(rows[0])))})
        pq.write_table(table, path, row_group_size=16, write_page_checksum=True)


class FaissQuantisedLists(FaissFlat):
    factory = "IVF2,SQ8"


FILES = [
    Npy(),
    Safetensors(),
    ParquetLists(),
    ParquetChecked(),
    Jsonl(),
    FaissFlat(),
    FaissQuantisedLists(),
    FaissGraph(),
    *TABLES,
    Sqlite(),
    SqliteText(),
    SqliteVec(),
    Hdf5(),
]
LINES = (".jsonl", ".ndjson", ".csv", ".tsv")


@pytest.mark.parametrize("kind", FILES, ids=str)
def test_mutations_are_read_or_refused(kind: File, tmp_path):
    if not installed(kind):
        pytest.skip(f"{kind.client} is not installed")
    vectors = np.random.default_rng(0).standard_normal((ROWS, 8), np.float32)
    path = tmp_path / f"whole{kind.suffix}"
    kind.save(path, vectors.tolist(), NAMES)
    content, chance = path.read_bytes(), random.Random(0)
    mutations = [mutate(content, chance) for _ in range(FILE)]
    mutated = tmp_path / f"mutated{kind.suffix}"
    read_all = read_indexes if isinstance(kind, FaissFlat) else read_files
    ends = read_all(mutated, mutations)
    for i, (changed, end) in enumerate(zip(mutations, ends, strict=True)):
        assert end in ("read", "refused"), f"mutation {i}: {end}"
        cut = len(changed) < len(content) and content.startswith(changed)
        # Whole lines are a whole file: where it was cut between two, nothing can tell.
        if cut and not (kind.suffix in LINES and changed.endswith((b"\n", b"}", b"]", b'"'))):
            assert end == "refused", f"mutation {i}: cut at {len(changed)}, taken for whole"
    assert ends.count("refused") > FILE / 10  # at least most of those that were cut


@pytest.mark.parametrize(
    ("kind", "read"),
    [
        # What is read when all vectors are: a file that is not may be cut.
        (Zarr(), ("vectors.zarr/zarr.json", "emb/zarr.json", "emb/c/0/0")),
        (Qdrant(), ("meta.json", "storage.sqlite")),
        # Each start of its server takes a second; and it mends what a killed one left half-written.
        (Milvus(), ()),
    ],
    ids=str,
)
def test_mutated_folders_are_read_or_refused(kind: Kind, read: tuple[str, ...], tmp_path):
    if not installed(kind):
        pytest.skip(f"{kind.client} is not installed")
    whole, mutated = tmp_path / "whole", tmp_path / "mutated"
    whole.mkdir()
    vectors = np.random.default_rng(0).standard_normal((ROWS, 8), np.float32)
    source = kind.write(whole, vectors.tolist(), NAMES).replace(str(whole), str(mutated))
    paths = [p.relative_to(whole) for p in sorted(whole.rglob("*")) if p.is_file()]
    paths = [path for path in paths if (whole / path).stat().st_size]
    chance = random.Random(0)
    for i in range(FOLDER if read else SLOW):
        path = chance.choice(paths)
        shutil.copytree(whole, mutated)
        content = (mutated / path).read_bytes()
        changed = mutate(content, chance)
        (mutated / path).write_bytes(changed)
        end = end_of(source)
        assert end in ("read", "refused"), f"mutation {i} of {path}: {end}"
        if len(changed) < len(content) and content.startswith(changed) and str(path).endswith(read):
            assert end == "refused", f"mutation {i}: {path} cut at {len(changed)}, taken for whole"
        if isinstance(kind, Milvus):
            kind._forget()
        shutil.rmtree(mutated)


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


def read_files(path: Path, contents: list[bytes]) -> list[str]:
    """How reading a file with each of the contents ends: `read`, `refused`, or what else."""
    ends = []
    for content in contents:
        path.write_bytes(content)
        ends.append(end_of(str(path)))
    return ends


def end_of(source: str) -> str:
    """How reading a source ends."""
    signal.alarm(SECONDS)  # ends the tests of a reader that hangs
    try:
        store = open_source(source)
        for start in range(0, store.count, 16):
            store.read(start, min(start + 16, store.count))
        return "read"
    except UserError as error:
        one_line = str(error) and "\n" not in str(error)
        return "refused" if one_line else f"refused with {str(error)!r}"
    except Exception as error:
        return repr(error)
    finally:
        signal.alarm(0)


def read_indexes(path: Path, contents: list[bytes]) -> list[str]:
    """The same of a FAISS index: first in a process of its own, since FAISS may crash; what crashes
    must then be refused."""
    ends: list[str] = []
    while len(ends) < len(contents):
        ends += read_apart(path, contents[len(ends) :])
        if len(ends) < len(contents):  # the next one ended the process
            [end] = read_files(path, [contents[len(ends)]])
            ends.append(end if end == "refused" else f"crashes FAISS, but is {end}")
    return ends


def load_all(path: Path, contents: list[bytes], said: Path) -> None:
    """Load indexes and write a line on each."""
    faulthandler.disable()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    resource.setrlimit(resource.RLIMIT_AS, (2**33, 2**33))
    with open(said, "w", buffering=1) as file:
        for content in contents:
            path.write_bytes(content)
            signal.alarm(SECONDS)
            try:
                index = FaissStore.__new__(FaissStore)
                index.load(str(path))
                index.fetch(0, min(index.count, 1024))
            except Exception:
                file.write("refused\n")
            else:
                file.write("read\n")


def read_apart(path: Path, contents: list[bytes]) -> list[str]:
    """Load indexes in another process; returns how each one ended, up to one that ends it."""
    # A fork of this process may wait for ever for a lock of another library's threads.
    said, apart = path.with_suffix(".said"), multiprocessing.get_context("forkserver")
    apart.set_forkserver_preload([__name__])
    said.unlink(missing_ok=True)
    child = apart.Process(target=load_all, args=(path, contents, said))
    child.start()
    child.join()
    status = child.exitcode
    assert status != -signal.SIGALRM, "an index makes FAISS hang"
    return said.read_text().splitlines()
