"""What PostgreSQL keeps vectors in: types of any schema, domains, views, and columns of others."""

from __future__ import annotations

import gc
import json

import numpy as np
import pytest
from kinds import DIM, random_vectors

from nanov2t.core.errors import UserError
from nanov2t.stores.registry import open_source

psycopg = pytest.importorskip("psycopg")
VECTORS = random_vectors()[:5]
COLUMNS = {
    "vec": f"ext.vector({DIM})",
    "half": f"ext.halfvec({DIM})",
    "domain": "ext.embedding",
    "wide": "double precision[]",
    "exact": "numeric[]",
    "bytes": "bytea",
    "halves": "bytea",
    "document": "jsonb",
    "string": "text",
}


@pytest.fixture(scope="module")
def database(server):
    """A database of its own, in which pgvector is in a schema that is not searched."""
    with psycopg.connect(server, autocommit=True) as db:
        db.execute("CREATE DATABASE kinds")
    url = server.replace("/postgres?", "/kinds?")
    with psycopg.connect(url, autocommit=True) as db:
        db.execute("CREATE SCHEMA ext")
        db.execute("CREATE EXTENSION vector SCHEMA ext")
        db.execute(f"CREATE DOMAIN ext.inner_embedding AS ext.vector({DIM})")
        db.execute("CREATE DOMAIN ext.embedding AS ext.inner_embedding")
        columns = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
        db.execute(f"CREATE TABLE docs (id bigint, {columns})")
        for i, row in enumerate(VECTORS):
            text = json.dumps(row.tolist())
            array = row.tolist()
            half = row.astype(np.float16).tobytes()
            values = (i, text, text, text, array, array, row.tobytes(), half, text, text)
            db.execute(f"INSERT INTO docs VALUES ({', '.join(['%s'] * len(values))})", values)
        db.execute("CREATE VIEW shown AS SELECT id, vec FROM docs WHERE id > 1 ORDER BY id DESC")
        db.execute("CREATE MATERIALIZED VIEW kept AS SELECT id, vec FROM docs")
        db.execute("CREATE TABLE split (id bigint, vec ext.vector) PARTITION BY RANGE (id)")
        db.execute("CREATE TABLE split_1 PARTITION OF split FOR VALUES FROM (0) TO (3)")
        db.execute("CREATE TABLE split_2 PARTITION OF split FOR VALUES FROM (3) TO (9)")
        db.execute("INSERT INTO split SELECT id, vec FROM docs")
    return url


@pytest.mark.parametrize("column", COLUMNS)
def test_columns(database, column):
    store = open_source(f"{database}#docs.{column}", "id")
    rows = store.read(0, 5)
    assert store.integer_ids and (store.kind == "float16") == (column in ("half", "halves"))
    assert rows.ids == list(range(5)) and not rows.errors
    assert np.allclose(rows.vectors, VECTORS, atol=2e-3 if "hal" in column else 1e-6)


def test_views_and_partitions(database):
    for place, ids in (
        ("shown", [4, 3, 2]),
        ("public.kept.vec", [0, 1, 2, 3, 4]),
        ("split", [0, 1, 2, 3, 4]),
    ):
        store = open_source(f"{database}#{place}", "id")
        rows = store.read(0, store.count)
        assert rows.ids == ids and np.array_equal(rows.vectors, VECTORS[ids])
        assert open_source(f"{database}#{place}", "id").fingerprint == store.fingerprint


def test_a_change_beneath_a_view_and_a_table_in_a_new_order(database):
    views = [open_source(f"{database}#{name}").fingerprint for name in ("shown", "docs.vec")]
    gc.collect()  # a store that is open locks its table
    with psycopg.connect(database, autocommit=True) as db:
        db.execute("SET lock_timeout = '5s'")
        db.execute("CREATE INDEX by_text ON docs (string)")
        db.execute("CLUSTER docs USING by_text")
    assert open_source(f"{database}#docs.vec").fingerprint != views[1]
    with psycopg.connect(database, autocommit=True) as db:
        db.execute("UPDATE docs SET vec = (SELECT vec FROM docs WHERE id = 0) WHERE id = 4")
    assert open_source(f"{database}#shown").fingerprint != views[0]


def test_names_that_are_not_there(database):
    for key, said in (
        ("doc.vec", "did you mean docs.vec"),
        ("docs.id", "no vectors in it, of type int8"),
        ("", "docs.vec.*kept.vec.*shown.vec"),
    ):
        with pytest.raises(UserError, match=said) as error:
            open_source(f"{database}#{key}")
        assert "secret" not in str(error.value)
