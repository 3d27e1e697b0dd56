"""Shapes of JSON that services and tools write."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
from shapes import NAMES, check, write_lines

from nanov2t.stores.registry import names_in, open_source


def answers(vectors: np.ndarray) -> list:
    """The output of a batch of OpenAI's: a line an answer, of one or several texts."""
    parts = (vectors[:1], vectors[1:4], vectors[4:])
    bodies = [{"data": [{"index": 0, "embedding": row} for row in p.tolist()]} for p in parts]
    return [
        {"custom_id": f"r{i}", "response": {"status_code": 200, "body": body}, "error": None}
        for i, body in enumerate(bodies)
    ]


def test_a_batch_of_answers(tmp_path, vectors):
    lines = answers(vectors)
    write_lines(tmp_path / "a.jsonl", lines)
    write_lines(tmp_path / "a.json", lines)
    pq.write_table(pa.Table.from_pylist(lines), tmp_path / "a.parquet")
    ids = ["r0", "r1", "r1", "r1", "r2", "r2"]
    for file in ("a.jsonl", "a.json", "a.parquet"):
        for key in ("", "#response.body.data.embedding", "#response.body.data[].embedding"):
            check(f"{tmp_path}/{file}{key}", vectors)
        check(tmp_path / file, vectors, ids, ids="custom_id")
        check(f"{tmp_path}/{file}#response.body.data[0].embedding", vectors[[0, 1, 4]])
        assert names_in(tmp_path / file) == ["response.body.data.embedding"]
    check(tmp_path / "a.jsonl", vectors, ["0"] * 6, ids="response.body.data.index")
    failed = write_lines(tmp_path / "b.jsonl", [*lines[:2], {"custom_id": "x", "response": None}])
    store = open_source(str(failed), "custom_id")
    assert store.read(0, 5).errors == {4: "missing"} and store.read(4, 5).ids == ["x"]


def test_objects_whose_keys_are_the_ids(tmp_path, vectors):
    rows = dict(zip(NAMES, vectors.tolist(), strict=True))
    objects = {n: {"text": n, "emb.": row} for n, row in rows.items()}
    for value, key in (
        (
            {"embedding_dict": rows, "metadata_dict": {n: {"page": 3} for n in NAMES}},
            "embedding_dict",
        ),
        ({"text": dict.fromkeys(NAMES, "x"), "e": rows}, "e"),
        (rows, ""),
        (objects, "emb."),
        ({"nodes": objects, "version": [1]}, "nodes.emb."),
    ):
        (tmp_path / "a.json").write_text(json.dumps(value))
        check(tmp_path / "a.json", vectors, NAMES)
        if key:
            check(f"{tmp_path}/a.json#{key}", vectors, NAMES)
            assert open_source(f"{tmp_path}/a.json").name.endswith(f"#{key}")


def test_rows_whose_places_say_what_they_hold(tmp_path, vectors):
    rows = [[name, 3, row] for name, row in zip(NAMES, vectors.tolist(), strict=True)]
    for value, key in ((rows, "2"), ({"columns": ["a", "b", "c"], "data": rows}, "data.2")):
        (tmp_path / "a.json").write_text(json.dumps(value))
        check(tmp_path / "a.json", vectors)
        check(f"{tmp_path}/a.json#{key}", vectors)
    check(write_lines(tmp_path / "a.jsonl", rows), vectors)


def test_sparse_vectors_are_passed_over(tmp_path, vectors):
    sparse = {"indices": [1, 2], "values": [0.5, 0.5]}
    found = [{"id": "x", "values": row, "sparse_values": sparse} for row in vectors.tolist()]
    check(write_lines(tmp_path / "a.jsonl", [{"matches": found}]), vectors)


def test_a_list_far_into_a_large_file(tmp_path, vectors, monkeypatch):
    monkeypatch.setattr("nanov2t.stores.text_files.EVENTS", 100)
    texts = [f"text {i}" for i in range(999)]
    value = {"query": [0.5] * 384, "texts": texts, "data": [{"e": row} for row in vectors.tolist()]}
    (tmp_path / "a.json").write_text(json.dumps(value))
    check(tmp_path / "a.json", vectors)
    check(f"{tmp_path}/a.json#query", np.full((1, 384), 0.5))


def test_json_with_a_byte_order_mark_and_numbers_that_are_none(tmp_path, vectors):
    rows = vectors.tolist()
    rows[1][5], rows[4][0] = float("nan"), float("-inf")
    for suffix, dump in (("json", json.dumps), ("jsonl", lambda r: "\n".join(map(json.dumps, r)))):
        content = dump([{"id": "NaN-1", "vector": row} for row in rows])
        (tmp_path / f"a.{suffix}").write_bytes(b"\xef\xbb\xbf" + content.encode())
        found = open_source(f"{tmp_path}/a.{suffix}", "id").read(0, 6)
        assert found.errors == {1: "not finite", 4: "not finite"} and found.ids == ["NaN-1"] * 6
        assert np.allclose(found.vectors[[0, 2, 3, 5]], vectors[[0, 2, 3, 5]])


def test_bulk_files_of_elasticsearch(tmp_path, vectors):
    lines: list[dict] = []
    for name, row in zip(NAMES, vectors.tolist(), strict=True):
        lines += {"index": {"_index": "texts", "_id": name}}, {"text": name, "emb": row}
    lines.insert(4, {"delete": {"_index": "texts", "_id": "z"}})
    write_lines(tmp_path / "a.ndjson", lines)
    check(tmp_path / "a.ndjson", vectors, NAMES)
    check(tmp_path / "a.ndjson", vectors, NAMES, ids="text")
    write_lines(tmp_path / "a.ndjson", [{"index": {}} if "index" in d else d for d in lines])
    check(tmp_path / "a.ndjson", vectors)
