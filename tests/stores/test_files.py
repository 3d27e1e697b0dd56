"""Files that people have: shards, what tools write beside the vectors, and what cannot be read."""

from __future__ import annotations

import gzip
import json
import pickle
import re
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from kinds import DIM, NAMES, N, random_vectors

from nanov2t.core.errors import UserError
from nanov2t.stores.registry import open_source


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return random_vectors()


def check(spec: str, vectors: np.ndarray, ids: str | None = None) -> None:
    store = open_source(spec, ids)
    assert (store.count, store.dim) == vectors.shape
    rows = store.read(0, store.count)
    assert rows.ids == (NAMES[: store.count] if ids else list(range(store.count)))
    assert not rows.errors and np.array_equal(rows.vectors, vectors)
    middle = slice(store.count // 2 - 3, store.count // 2 + 3)
    assert np.array_equal(store.read(middle.start, middle.stop).vectors, vectors[middle])


def said(spec: str, ids: str | None = None) -> str:
    with pytest.raises(UserError) as error:
        open_source(spec, ids)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_shards_are_read_in_the_order_of_their_names(tmp_path, vectors):
    parts = np.array_split(np.arange(N), 7)
    for i in (3, 0, 6, 1, 5, 2, 4):
        table = {"name": [NAMES[j] for j in parts[i]], "vector": list(vectors[parts[i]])}
        pq.write_table(pa.table(table), tmp_path / f"part-{i}.parquet")
        np.save(tmp_path / f"part-{i}.npy", vectors[parts[i]])
    empty = pa.table({"name": ["x"], "vector": [[1.0]]}).slice(1)
    pq.write_table(empty, tmp_path / "part-3b.parquet")
    check(f"{tmp_path}/*.npy", vectors)
    check(f"{tmp_path}/part-?.parquet#vector", vectors, "name")
    assert "holds .npy, .parquet: choose by" in said(str(tmp_path))
    for path in tmp_path.glob("*.npy"):
        path.unlink()
    (tmp_path / "_SUCCESS").touch()
    (tmp_path / "notes.json").write_text("{}")
    check(str(tmp_path), vectors, "name")
    before = open_source(str(tmp_path)).fingerprint
    pq.write_table(pa.table({"name": ["a"], "vector": [vectors[0]]}), tmp_path / "part-7.parquet")
    assert open_source(str(tmp_path)).fingerprint != before
    pq.write_table(pa.table({"name": ["a"], "vector": [[1.0, 2.0]]}), tmp_path / "part-8.parquet")
    assert "part-8.parquet: vectors of 2 dimensions, but" in said(str(tmp_path))


def test_the_folder_of_a_dataset(tmp_path, vectors):
    columns = {"name": NAMES, "text": NAMES, "embeddings": list(vectors)}
    datasets.Dataset.from_dict(columns).save_to_disk(tmp_path / "set", num_shards=3)
    check(str(tmp_path / "set"), vectors, "name")


@pytest.mark.parametrize("kind", ["float16", "float32", "float64", "int8", "int64"])
def test_lists_of_numbers_of_any_kind(tmp_path, vectors, kind):
    values = (vectors * 30).astype(kind)
    table = pa.table({"emb": pa.array(values.tolist(), pa.large_list(pa.from_numpy_dtype(kind)))})
    pq.write_table(table, tmp_path / "a.parquet")
    store = open_source(str(tmp_path / "a.parquet"))
    assert store.kind == kind
    assert np.array_equal(store.read(0, N).vectors, values.astype(np.float32))


def test_strings_of_json_and_structs_in_tables(tmp_path, vectors):
    texts = [json.dumps(row) for row in vectors.tolist()]
    for name, values in (("text", texts), ("struct", [{"dense": row} for row in vectors.tolist()])):
        pq.write_table(pa.table({"name": NAMES, "data": values}), tmp_path / f"{name}.parquet")
    pd.DataFrame({"name": NAMES, "data": texts}).to_json(tmp_path / "a.json", orient="records")
    check(f"{tmp_path}/text.parquet", vectors, "name")
    check(f"{tmp_path}/struct.parquet", vectors, "name")
    check(f"{tmp_path}/struct.parquet#data.dense", vectors)
    check(f"{tmp_path}/a.json#data", vectors, "name")


def test_columns_of_dimensions_by_the_first_and_the_last(tmp_path, vectors):
    frame = pd.DataFrame(vectors, columns=[f"d{i}" for i in range(DIM)])
    frame.assign(score=1.5, name=NAMES).to_csv(tmp_path / "a.csv", index=False)
    frame.assign(score=1.5, name=NAMES).to_parquet(tmp_path / "a.parquet")
    for file in ("a.csv", "a.parquet"):
        check(f"{tmp_path}/{file}#d0:d{DIM - 1}", vectors, "name")
        assert open_source(f"{tmp_path}/{file}").dim == DIM + 1
        assert "name in d0:name are not columns of numbers" in said(f"{tmp_path}/{file}#d0:name")


@pytest.mark.parametrize(
    ("key", "shape"),
    [
        ("", lambda rows: {"data": [{"embedding": row} for row in rows], "model": "x"}),
        ("#data.embedding", lambda rows: {"u": [[1]], "data": [{"embedding": r} for r in rows]}),
        ("#embeddings", lambda rows: {"ids": NAMES, "embeddings": rows}),
        ("#a.b.emb", lambda rows: {"a": {"b": [{"emb": row, "id": 3} for row in rows]}}),
    ],
)
def test_json_of_services(tmp_path, vectors, key, shape):
    (tmp_path / "a.json").write_text(json.dumps(shape(vectors.tolist()), indent=1))
    check(f"{tmp_path}/a.json{key}", vectors)


def test_json_lines_under_the_name_of_json(tmp_path, vectors):
    lines = [
        {"name": name, "chunks": [{"a": 1}], "embedding": row}
        for name, row in zip(NAMES, vectors.tolist(), strict=True)
    ]
    (tmp_path / "a.json").write_text("\n".join(map(json.dumps, lines)))
    check(f"{tmp_path}/a.json", vectors, "name")


def test_a_bad_cell_is_an_error_of_its_row(tmp_path):
    cells = ["[1, 2]", "[0.1 ... 0.2]", "[1, x]", "", "1, 2", "[3 4]", "{5,6}"]
    pd.DataFrame({"emb": cells}).to_csv(tmp_path / "lists.csv", index=False)
    rows = open_source(f"{tmp_path}/lists.csv").read(0, len(cells))
    assert rows.vectors[[0, 5, 6]].tolist() == [[1, 2], [3, 4], [5, 6]]
    assert rows.errors == {
        1: "abbreviated: it was printed with ... in place of numbers",
        2: "not a list of numbers",
        3: "missing",
        4: "not a list of numbers",
    }
    lines = ["a,b", *["1,2"] * 1500, "x,3", "4,5", ",6"]
    (tmp_path / "columns.csv").write_text("\n".join(lines) + "\n")
    rows = open_source(f"{tmp_path}/columns.csv").read(0, 1503)
    assert rows.errors == {1500: "not a list of numbers", 1502: "not finite"}
    assert rows.vectors[1501].tolist() == [4, 5]


def write_what_cannot_be_read(folder: Path) -> None:
    vectors = np.ones((3, DIM), np.float32)
    (folder / "a.pkl").write_bytes(pickle.dumps(vectors))
    (folder / "a.jsonl.gz").write_bytes(gzip.compress(b'{"vector": [1]}'))
    pq.write_table(pa.table({"vector": list(vectors)}), folder / "table")
    (folder / "usage.json").write_text('{"model": "x", "usage": 3}')
    (folder / "cut.json").write_text('[{"vector": [1, 2]}, {"vec')
    (folder / "array.jsonl").write_text('[\n{"vector": [1]},\n{"vector": [2]}\n]\n')
    (folder / "numbers.jsonl").write_text("1\n2\n")
    (folder / "cut.jsonl").write_text('{"vector": [1]}\n{"vec')
    (folder / "cut.csv").write_text("a,b\n1,2\n3,4")
    (folder / "text.csv").write_text("id,text\n1,one\n2,two\n")
    (folder / "ragged.csv").write_text("a,b\n1,2\n3\n")
    pq.write_table(pa.table({"id": [1], "text": ["one"]}), folder / "text.parquet")
    torch.save({"model": np.random.default_rng(0)}, folder / "code.pt")
    np.savez(folder / "a.npz", names=NAMES, vectors=vectors)
    (folder / "empty").mkdir()


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("a.pkl", "a pickle, which may run code and is not opened; not one of .npy"),
        ("a.jsonl.gz", "compressed by gzip: unpack it first"),
        ("table", "a .parquet file under another name: rename it"),
        ("usage.json", "holds no vectors, only model, usage"),
        ("cut.json", "cannot be read"),
        ("array.jsonl", "its first line is not JSON: if it is one value, name it .json"),
        ("numbers.jsonl", "holds no vectors"),
        ("cut.jsonl", "its last line is not JSON: it may have been cut off"),
        ("cut.csv", "its last line has no end: it may have been cut off"),
        ("text.csv", "holds no vectors, only id, text"),
        ("text.csv#text", "text holds no vectors: not a list of numbers"),
        ("ragged.csv", "Expected 2 columns, got 1"),
        ("text.parquet#text", "text holds no vectors: not a list of numbers"),
        ("code.pt", "a pickle of more than tensors"),
        ("a.npz#none", "no vectors none in it. Choose after a #: vectors"),
        ("a.npz#names", "no vectors names in it. Choose after a #: vectors"),
        ("empty", "a folder without files of vectors"),
        ("*.feather", "no such file"),
    ],
)
def test_the_reason_is_the_true_one(tmp_path, spec, why):
    write_what_cannot_be_read(tmp_path)
    assert re.search(re.escape(why), said(f"{tmp_path}/{spec}"))
