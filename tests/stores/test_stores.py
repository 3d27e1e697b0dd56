"""What is special to one kind of store; test_contract.py tests what holds of all."""

from __future__ import annotations

import importlib
import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from every_kind import Lance, Postgres
from kinds import DIM, NAMES, N, random_vectors
from safetensors.torch import save_file

from nanov2t.core.errors import UserError
from nanov2t.stores.base import Store
from nanov2t.stores.registry import names_in, open_source


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return random_vectors()


def check(store: Store, vectors: np.ndarray, ids: list, tolerance: float = 0.0) -> None:
    assert (store.count, store.dim) == vectors.shape
    rows = store.read(0, store.count)
    assert rows.ids == ids and not rows.errors
    assert np.abs(rows.vectors - vectors).max() <= tolerance


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float64", "int8"])
def test_quantised_numbers_are_recognised(tmp_path, vectors, kind):
    tensor = (torch.from_numpy(vectors) * 30).to(getattr(torch, kind))
    save_file({"vector": tensor}, tmp_path / "a.safetensors")
    store = open_source(str(tmp_path / "a.safetensors"))
    assert store.kind == kind
    assert np.abs(store.read(0, 9).vectors - vectors[:9] * 30).max() < 1.01


@pytest.mark.parametrize("kind", ["uint8", "uint16", "uint32", "uint64"])
def test_unsigned_numbers_are_read(tmp_path, vectors, kind):
    values = (vectors * 10 + 100).astype(kind)
    np.save(tmp_path / "a.npy", values)
    lists = pa.array(values.tolist(), pa.list_(pa.from_numpy_dtype(kind)))
    pq.write_table(pa.table({"vector": lists}), tmp_path / "a.parquet")
    for file in ("a.npy", "a.parquet"):
        store = open_source(str(tmp_path / file))
        assert store.kind == kind and np.array_equal(store.read(0, store.count).vectors, values)


def test_what_is_no_number_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((3, DIM), bool))
    with pytest.raises(UserError, match="vectors of bool, not of floats or whole numbers"):
        open_source(str(tmp_path / "a.npy"))


def test_json_lines_say_why_a_row_is_bad(tmp_path, vectors):
    lines = [{"id": i, "vector": row} for i, row in enumerate(vectors[:10].tolist())]
    bad = {
        1: ("text", "not a list of numbers"),
        2: ([1e300] * DIM, "not finite"),
        3: (["x"] * DIM, "not a list of numbers"),
        4: ({}, "not a list of numbers"),
        5: ([[1] * DIM] * 2, "2 lists of numbers, not one"),
    }
    for i, (value, _) in bad.items():
        lines[i]["vector"] = value
    texts = [json.dumps(line) for line in lines]
    texts[6] = "[not json"
    (tmp_path / "a.jsonl").write_text("\n".join(texts))
    rows = open_source(str(tmp_path / "a.jsonl"), "id").read(0, 10)
    assert rows.errors == {i: why for i, (_, why) in bad.items()} | {6: "not a JSON object"}
    assert rows.ids == ["0", "1", "2", "3", "4", "5", None, "7", "8", "9"]


def test_integer_columns_give_integer_ids(tmp_path, vectors):
    table = {"number": np.arange(N) * 2, "vector": vectors.tolist(), "other": vectors.tolist()}
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    store = open_source(f"{tmp_path}/a.parquet#other", "number")
    assert store.integer_ids
    check(store, vectors, list(range(0, 2 * N, 2)))
    assert open_source(f"{tmp_path}/a.parquet").name.endswith("#vector")  # by its usual name
    assert names_in(tmp_path / "a.parquet") == ["vector", "other"]
    np.save(tmp_path / "a.npy", vectors)
    assert names_in(tmp_path / "a.npy") == []


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("none.npy", "no such file"),
        ("a.bin", "a.bin: not one of .npy, .fbin"),
        ("two.parquet", "which vectors? Choose one after a #: first, second"),
        ("flat.npy", "holds no vectors"),
        ("a.npy#x", "its vectors have no name, so no x"),
        ("empty.jsonl", "holds no vectors"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path, spec, said):
    np.save(tmp_path / "a.npy", np.ones((3, DIM), np.float32))
    np.save(tmp_path / "flat.npy", np.ones((0, 3), np.float32))
    (tmp_path / "a.bin").write_text("vectors")
    lists = [[1.0] * DIM] * 3
    pq.write_table(pa.table({"first": lists, "second": lists}), tmp_path / "two.parquet")
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(UserError, match=re.escape(said)) as error:
        open_source(f"{tmp_path}/{spec}")
    assert "\n" not in str(error.value)


def test_pickles_stay_closed(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(UserError):
        open_source(str(tmp_path / "a.npy"))


def test_a_byte_of_a_large_file_is_another_source(tmp_path, vectors):
    path = tmp_path / "a.npy"
    np.save(path, vectors)
    before = open_source(str(path)).fingerprint
    with open(path, "r+b") as file:
        file.seek(40001)
        file.write(b"x")
    assert open_source(str(path)).fingerprint != before


def test_chroma_names_what_is_wrong(tmp_path):
    chromadb = pytest.importorskip("chromadb")
    client = chromadb.PersistentClient(str(tmp_path), chromadb.Settings(anonymized_telemetry=False))
    client.create_collection("texts", embedding_function=None)
    for spec, said in (
        ("/none#texts", "not a Chroma folder"),
        ("#text", "no vectors text in it; did you mean texts\\? Choose after a #: texts"),
        ("", "holds no vectors"),
        ("#texts", "holds no vectors"),
    ):
        with pytest.raises(UserError, match=said):
            open_source(f"chroma:{tmp_path}{spec}")


def test_lancedb_is_read_as_it_was_when_opened(tmp_path, vectors):
    lancedb = pytest.importorskip("lancedb")
    source = Lance().write(tmp_path, vectors.tolist(), NAMES)
    store = open_source(source, "name")
    lancedb.connect(tmp_path / "lance").open_table("texts").delete("name = 'row 3'")
    check(store, vectors, NAMES)
    after = open_source(source)
    assert after.count == N - 1 and after.fingerprint != store.fingerprint


def test_lancedb_of_other_columns(tmp_path, vectors):
    lancedb = pytest.importorskip("lancedb")
    database = lancedb.connect(tmp_path)
    columns = {f"d{i}": vectors[:, i] for i in range(DIM)}
    printed = [str(row) for row in vectors.tolist()]
    database.create_table("texts", pa.table({"name": NAMES, "printed": printed}))
    database.create_table("wide", pa.table({"name": NAMES} | columns))
    for spec in ("texts.printed", "wide"):
        check(open_source(f"lancedb:{tmp_path}#{spec}", "name"), vectors, NAMES)


def test_postgres_is_read_out_of_one_snapshot(server, vectors):
    import psycopg

    source = Postgres().write(server, vectors.tolist(), NAMES)
    table = source.partition("#")[2].partition(".")[0]
    store = open_source(source, "name")
    assert "secret" not in store.name
    with psycopg.connect(server, autocommit=True) as db:
        db.execute(f"DELETE FROM {table} WHERE name = 'row 3'")
    check(store, vectors, NAMES)
    after = open_source(f"{server}#public.{table}.embedding", "name")  # with its schema
    assert after.count == N - 1 and after.fingerprint != store.fingerprint


def test_a_missing_client_names_its_extra(monkeypatch, tmp_path):
    def missing(name: str):
        raise ImportError(name)

    (tmp_path / "a.faiss").touch()
    monkeypatch.setattr(importlib, "import_module", missing)
    for spec, extra in (
        (f"{tmp_path}/a.faiss", "faiss"),
        ("chroma:x#y", "chroma"),
        ("lancedb:x#y", "lancedb"),
        ("postgresql:///x#y.z", "postgres"),
    ):
        with pytest.raises(UserError, match=rf"pip install '\.\[{extra}\]'"):
            open_source(spec)
