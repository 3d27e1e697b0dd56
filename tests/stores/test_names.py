"""Names with dots, `#`, colons, spaces, quotes and capitals, wherever a source holds a name."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import numpy as np
import pyarrow as pa
import pytest
from kinds import random_vectors

from nanov2t.core.errors import UserError
from nanov2t.stores.registry import open_source

ODD = [
    "v1.5",
    "a#b",
    "a:b",
    "two words",
    "it's",
    'say "hi"',
    "Ärger",
    "UPPER",
    "a`b",
    "50%",
    "select",
]
VECTORS = random_vectors()[:3]


def check(spec: str, ids: str | None = None) -> None:
    store = open_source(spec, ids)
    rows = store.read(0, 3)
    assert np.array_equal(rows.vectors, VECTORS) and not rows.errors
    assert rows.ids == ([7, 8, 9] if ids else list(range(3)))


@pytest.mark.parametrize("odd", ODD)
def test_sqlite(tmp_path, odd):
    place = tmp_path / f"{odd}.db"
    table, column, key = ('"' + f"{name}{odd}".replace('"', '""') + '"' for name in ("t", "c", "k"))
    with closing(sqlite3.connect(place)) as db, db:
        for name in (table, '"other.x"'):
            db.execute(f"CREATE TABLE {name} ({key} INTEGER, {column} BLOB)")
            rows = [(i, row.tobytes()) for i, row in enumerate(VECTORS, 7)]
            db.executemany(f"INSERT INTO {name} VALUES (?, ?)", rows)
    check(f"{place}#t{odd}.c{odd}", f"k{odd}")
    check(f"{place}#t{odd}")
    with pytest.raises(UserError, match=r"no vectors other.y.c.* did you mean other.x.c"):
        open_source(f"{place}#other.y.c{odd}")


def test_postgres(server):
    psycopg = pytest.importorskip("psycopg")
    with psycopg.connect(server, autocommit=True) as db:
        for odd in ODD:
            schema, table, column, key = (psycopg.sql.Identifier(f"{n}{odd}") for n in "stck")
            names = {"schema": schema, "table": table, "column": column, "key": key}
            for command in (
                "CREATE SCHEMA {schema}",
                "CREATE TABLE {schema}.{table} ({key} int, {column} real[])",
                "CREATE TABLE {table} ({key} int, {column} real[])",
            ):
                db.execute(psycopg.sql.SQL(command).format(**names))
            for place in ("{schema}.{table}", "{table}"):
                insert = psycopg.sql.SQL(f"INSERT INTO {place} VALUES ({{i}}, {{row}})")
                for i, row in enumerate(VECTORS.tolist(), 7):
                    db.execute(insert.format(i=i, row=row, **names))
    for odd in ODD:
        for place in (f"s{odd}.t{odd}", f"t{odd}", f"public.t{odd}"):
            check(f"{server}#{place}.c{odd}", f"k{odd}")
            check(f"{server}#{place}")
    with pytest.raises(UserError, match="no vectors tupper in it; did you mean tUPPER"):
        open_source(f"{server}#tupper")


@pytest.mark.parametrize("odd", ["v1.5", "a#b", "two words", "Ärger", "UPPER"])
def test_qdrant(tmp_path, odd):
    qdrant_client = pytest.importorskip("qdrant_client")
    models = qdrant_client.models
    place = tmp_path / odd
    with closing(qdrant_client.QdrantClient(path=str(place))) as client:
        size = models.VectorParams(size=len(VECTORS[0]), distance="Dot")
        client.create_collection(f"c{odd}", vectors_config={f"v{odd}": size, "other": size})
        points = [
            models.PointStruct(id=i, vector={f"v{odd}": row})
            for i, row in enumerate(VECTORS.tolist())
        ]
        client.upsert(f"c{odd}", points)
    check(f"qdrant:{place}#c{odd}.v{odd}")
    with pytest.raises(UserError, match=f"no vectors cc{odd}.x in it; did you mean c{odd}"):
        open_source(f"qdrant:{place}#cc{odd}.x")


def test_lancedb(tmp_path):
    lancedb = pytest.importorskip("lancedb")
    database = lancedb.connect(tmp_path / "a#b")
    for i, odd in enumerate(odd for odd in ODD if odd not in ("v1.5", "a`b")):
        column = pa.array(VECTORS.tolist(), pa.list_(pa.float32(), len(VECTORS[0])))
        data = pa.table({f"k{odd}": [7, 8, 9], f"c{odd}": column})
        database.create_table(f"v{i}.5", data)
        check(f"lancedb:{tmp_path}/a#b#v{i}.5.c{odd}", f"k{odd}")
    database.create_table("v5", data)
    with pytest.raises(UserError, match=r"no vectors w3.5 in it; did you mean v3.5"):
        open_source(f"lancedb:{tmp_path}/a#b#w3.5")


def test_chroma(tmp_path):
    chromadb = pytest.importorskip("chromadb")
    client = chromadb.PersistentClient(
        str(tmp_path / "a#b"), chromadb.Settings(anonymized_telemetry=False)
    )
    for name in ("v1.5", "Upper-Case"):
        collection = client.create_collection(name, embedding_function=None)
        collection.add(ids=["0", "1", "2"], embeddings=VECTORS.tolist())
        store = open_source(f"chroma:{tmp_path}/a#b#{name}")
        assert np.array_equal(store.read(0, 3).vectors, VECTORS)
    with pytest.raises(UserError, match="no vectors upper-case in it; did you mean Upper-Case"):
        open_source(f"chroma:{tmp_path}/a#b#upper-case")


def test_files(tmp_path):
    for odd in ODD:
        np.savez(tmp_path / f"{odd}.npz", **{odd: VECTORS, "other": VECTORS[:2]})
        check(f"{tmp_path}/{odd}.npz#{odd}")
