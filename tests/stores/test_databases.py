"""What is special to Qdrant, Milvus and SQLite; test_contract.py tests what holds of all."""

from __future__ import annotations

import pickle
import socket
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from binaries import Sqlite
from kinds import DIM, NAMES, random_vectors

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
    monkeypatch.setattr("nanov2t.stores.qdrant.HEAD", 2)  # several pages
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
