"""What is special to Qdrant, Milvus, SQLite and Delta; test_contract.py tests what holds of all."""

from __future__ import annotations

import hashlib
import io
import pickle
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from binaries import Sqlite
from databases import Delta
from kinds import DIM, NAMES, random_vectors
from test_untouched import contents

from nanov2t.core.errors import UserError
from nanov2t.stores.registry import open_source

IDS = [3, "6b29fc40-ca47-1067-b31d-00dd010662da", 5]


@pytest.fixture
def qdrant(tmp_path):
    """Vectors of two names at a client's folder, one point without the second."""
    qdrant_client = pytest.importorskip("qdrant_client")
    models = qdrant_client.models
    client = qdrant_client.QdrantClient(path=str(tmp_path / "qdrant"))
    size = models.VectorParams(size=DIM, distance="Dot")
    client.create_collection("texts", vectors_config={"dense": size, "title": size})
    rows = random_vectors()[:3].tolist()
    points = [
        models.PointStruct(id=id_, vector={"title": row, "dense": row} if i else {"dense": row})
        for i, (id_, row) in enumerate(zip(IDS, rows, strict=True))
    ]
    client.upsert("texts", points)
    return client


def test_named_vectors_of_qdrant(qdrant, tmp_path):
    qdrant.close()
    spec = f"qdrant:{tmp_path}/qdrant#texts"
    with pytest.raises(UserError, match="which vectors\\? Choose one after a #: dense, title"):
        open_source(spec)
    store = open_source(f"{spec}.title")
    rows = store.read(0, 3)
    assert rows.ids == [str(id_) for id_ in IDS] and rows.errors == {0: "missing"}
    assert np.array_equal(rows.vectors[1:], random_vectors()[1:3])


def test_a_server_of_qdrant(qdrant, monkeypatch):
    """Its answers are those of the client's local mode, since there is no server to install."""
    import qdrant_client

    monkeypatch.setattr(qdrant_client, "QdrantClient", lambda url: qdrant)
    monkeypatch.setattr("nanov2t.stores.databases.HEAD", 2)  # several pages
    store = open_source("qdrant:http://localhost:6333#texts.dense")
    rows = store.read(0, 3)
    assert sorted(rows.ids) == sorted(map(str, IDS)) and not rows.errors
    order = [list(map(str, IDS)).index(id_) for id_ in rows.ids]
    assert np.array_equal(rows.vectors, random_vectors()[:3][order])
    before = store.fingerprint
    qdrant.delete("texts", [3])
    assert open_source("qdrant:http://localhost:6333#texts.dense").fingerprint != before
    with pytest.raises(UserError, match=r"no vectors none in it. Choose after a #: texts"):
        open_source("qdrant:http://localhost:6333#none")


def test_a_server_of_milvus(tmp_path):
    """A real one, out of the newest wheel that brings one: `pip install milvus`."""
    milvus, pymilvus = pytest.importorskip("milvus"), pytest.importorskip("pymilvus")
    server = milvus.MilvusServer()
    server.set_base_dir(str(tmp_path))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        server.listen_port = free.getsockname()[1]
    vectors, url = random_vectors(), f"http://127.0.0.1:{server.listen_port}"
    rows = [{"id": f"r{i}", "vector": row} for i, row in enumerate(vectors.tolist())]
    try:
        server.start()
        with closing(pymilvus.MilvusClient(url)) as client:
            kind = {"id_type": "string", "max_length": 9}
            client.create_collection("texts", DIM, auto_id=False, **kind)
            client.insert("texts", rows)
            client.flush("texts")
            store = open_source(f"milvus:{url}#texts")
            found = store.read(0, store.count)
            order = [int(id_[1:]) for id_ in found.ids]
            assert sorted(order) == list(range(len(vectors))) and not store.integer_ids
            assert np.array_equal(found.vectors, vectors[order]) and not found.errors
            middle = store.read(1000, 1100)
            assert middle.ids == found.ids[1000:1100]
            assert np.array_equal(middle.vectors, found.vectors[1000:1100])
            assert open_source(f"milvus:{url}#texts").fingerprint == store.fingerprint
            client.delete("texts", ids=["r7"])
            client.flush("texts")
            assert open_source(f"milvus:{url}#texts").fingerprint != store.fingerprint
    finally:
        server.stop()


def test_pickles_of_qdrant_run_no_code(qdrant, tmp_path):
    qdrant.close()

    class Harm:
        def __reduce__(self):
            return (Path(tmp_path / "harm").touch, ())

    database = tmp_path / "qdrant/collection/texts/storage.sqlite"
    with closing(sqlite3.connect(database)) as db, db:
        db.execute("UPDATE points SET point = ?", [pickle.dumps(Harm())])
    with pytest.raises(UserError, match="which may run code"):
        open_source(f"qdrant:{tmp_path}/qdrant#texts.dense")
    assert not (tmp_path / "harm").exists()
    memo = pickle.PROTO + b"\4N" + pickle.LONG_BINPUT + b"\xff\xff\xff\x7f" + pickle.STOP
    with closing(sqlite3.connect(database)) as db, db:  # of 16 GiB, were it made
        db.execute("UPDATE points SET point = ?", [memo])
    with pytest.raises(UserError, match="qdrant"):
        open_source(f"qdrant:{tmp_path}/qdrant#texts.dense")


def test_tables_of_sqlite(tmp_path):
    vectors = random_vectors()[:4]
    source = Sqlite().write(tmp_path, vectors.tolist(), NAMES[:4])
    for key in ("", "#embeddings", "#embeddings.embedding"):
        store = open_source(source + key, "collection_id")
        assert store.integer_ids and store.read(0, 4).ids == [1] * 4
        assert np.array_equal(store.read(0, 4).vectors, vectors)
    with closing(sqlite3.connect(source, timeout=0)) as db, db:  # which the store does not prevent
        db.execute("DELETE FROM embeddings WHERE name = 'row 3'")
    with pytest.raises(UserError, match="it changed while it was read"):
        store.read(0, 4)


def test_qdrant_with_other_vectors_beside_dense_ones(tmp_path):
    qdrant_client = pytest.importorskip("qdrant_client")
    models = qdrant_client.models
    dense = models.VectorParams(size=DIM, distance="Cosine")
    max_sim = models.MultiVectorConfig(comparator="max_sim")
    multi = models.VectorParams(size=DIM, distance="Cosine", multivector_config=max_sim)
    sparse = models.SparseVector(indices=[3, 5], values=[0.5, 0.25])
    rows = random_vectors()[:3].tolist()
    held = {
        "plain": (dense, {"": 0, "words": sparse}),
        "named": ({"text": dense, "tokens": multi}, {"text": 0, "tokens": 1, "words": sparse}),
        "words": ({}, {"words": sparse}),
        "tokens": (multi, 1),
    }
    with closing(qdrant_client.QdrantClient(path=str(tmp_path))) as client:
        for name, (config, vectors) in held.items():
            words = {"words": models.SparseVectorParams()} if name != "tokens" else None
            client.create_collection(name, vectors_config=config, sparse_vectors_config=words)
            for i, row in enumerate(rows):
                values = {0: row, 1: [row, row]}
                vector = (
                    values[1]
                    if vectors == 1
                    else {
                        key: value if value is sparse else values[value]
                        for key, value in vectors.items()
                    }
                )
                client.upsert(name, [models.PointStruct(id=i, vector=vector, payload={"n": i})])
    for key in ("plain", "named", "named.text"):
        read = open_source(f"qdrant:{tmp_path}#{key}").read(0, 3)
        assert read.ids == [0, 1, 2] and not read.errors
        assert np.array_equal(read.vectors, random_vectors()[:3])
    for key, said in (
        ("plain.words", "holds dense vectors, sparse vectors words; only dense"),
        (
            "named.words",
            "dense vectors text, multi vectors tokens, sparse vectors words; only dense",
        ),
        ("named.tokens", "one a point, can be inverted"),
        ("named.txt", "did you mean text"),
        ("words", "holds sparse vectors words; only dense"),
        ("tokens", "holds multi vectors; only dense"),
    ):
        with pytest.raises(UserError, match=said):
            open_source(f"qdrant:{tmp_path}#{key}")
    (tmp_path / "storage/collections/texts").mkdir(parents=True)
    with pytest.raises(UserError, match="a server's: start it, and read qdrant:http://HOST:6333"):
        open_source(f"qdrant:{tmp_path}/storage#texts")


def test_views_and_foreign_tables_of_sqlite(tmp_path):
    vectors = random_vectors()[:40]
    source = Sqlite().write(tmp_path, vectors.tolist(), NAMES[:40])
    with closing(sqlite3.connect(source)) as db, db:
        db.execute(
            "CREATE VIEW shown AS SELECT name, embedding FROM embeddings ORDER BY rowid DESC"
        )
        db.execute("CREATE VIEW broken AS SELECT name FROM gone")
        db.execute("PRAGMA writable_schema = ON")
        for name in ("docs", "other"):  # of an extension that is not there
            sql = f"CREATE VIRTUAL TABLE {name} USING vector0(a)"
            db.execute("INSERT INTO sqlite_master VALUES ('table', ?, ?, 0, ?)", [name, name, sql])
    assert np.array_equal(open_source(f"{source}#shown").read(0, 40).vectors, vectors[::-1])
    assert np.array_equal(open_source(f"{source}#embeddings").read(0, 40).vectors, vectors)


@pytest.mark.parametrize("kind", ["<f4", ">f8", "i1", "npy"])
def test_bytes_of_sqlite(tmp_path, kind):
    vectors = random_vectors().reshape(-1, 100)[:40] / 10  # as those of embedders
    rounded = np.clip(np.rint(vectors * 300), -127, 127).astype(np.int8)
    with closing(sqlite3.connect(tmp_path / "x.db")) as db, db:
        db.execute("CREATE TABLE texts (embedding BLOB, hash BLOB)")
        for row, whole in zip(vectors, rounded, strict=True):
            stored = io.BytesIO()
            np.save(stored, row)
            blob = {"npy": stored.getvalue(), "i1": whole.tobytes()}.get(kind)
            hash_ = hashlib.sha256(row.tobytes()).digest()
            db.execute(
                "INSERT INTO texts VALUES (?, ?)", [blob or row.astype(kind).tobytes(), hash_]
            )
    rows = open_source(f"{tmp_path}/x.db").read(0, 40)
    expected = rounded if kind == "i1" else vectors
    assert not rows.errors and np.allclose(rows.vectors, expected, atol=1e-3)
    with pytest.raises(UserError, match=r"texts.hash is 32 bytes a row, which are neither floats"):
        open_source(f"{tmp_path}/x.db#texts.hash")


def test_files_of_a_table_with_a_log(tmp_path):
    pytest.importorskip("deltalake")
    vectors = random_vectors()[:20]
    source = Delta().write(tmp_path, vectors.tolist(), NAMES[:20])
    folder = source.partition(":")[2]
    assert np.array_equal(open_source(source).read(0, 20).vectors, vectors)
    for place in (folder, f"{folder}/*.parquet", str(tmp_path)):
        with pytest.raises(UserError, match=f"a Delta table: read delta:{folder}"):
            open_source(place)
    log = Path(folder, "_delta_log/00000000000000000000.json")
    protocol = '{"protocol":{"minReaderVersion":3,"minWriterVersion":7,"readerFeatures":'
    features = '["deletionVectors"],"writerFeatures":["deletionVectors"]}}'
    entries = [line for line in log.read_text().splitlines() if "protocol" not in line]
    log.write_text("\n".join([protocol + features, *entries]))
    with pytest.raises(UserError, match="deletionVectors"):
        open_source(source)
    (tmp_path / "iceberg/metadata").mkdir(parents=True)
    (tmp_path / "iceberg/metadata/v1.metadata.json").touch()
    np.save(tmp_path / "iceberg/x.npy", vectors)
    with pytest.raises(UserError, match="an Iceberg table: save its rows"):
        open_source(f"{tmp_path}/iceberg")


def test_milvus_lite_that_another_process_has_open_or_left_so(tmp_path):
    pytest.importorskip("milvus_lite")
    code = (
        "import os, sys; from pymilvus import MilvusClient; client = MilvusClient(sys.argv[1]);"
        "client.create_collection('texts', dimension=2, auto_id=False);"
        "client.insert('texts', [{'id': 5, 'vector': [3.0, 4.0]}]);"
        "print('open', flush=True); sys.stdin.read(); os._exit(1)"
    )
    place = tmp_path / "m.db"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code, str(place)], stdin=pipe, stdout=pipe) as it:
        assert it.stdout.readline() == b"open\n"
        assert open_source(f"milvus:{place}#texts").read(0, 1).vectors.tolist() == [[3, 4]]
    before = contents(place)
    rows = open_source(f"milvus:{place}#texts").read(0, 1)
    assert rows.ids == [5] and rows.vectors.tolist() == [[3, 4]]
    assert contents(place) == before
    with pytest.raises(UserError, match="no vectors text in it; did you mean texts"):
        open_source(f"milvus:{place}#text")
