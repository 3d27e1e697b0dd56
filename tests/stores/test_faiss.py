"""Indices of FAISS: no row is lost, doubled, or left in another space than the embedder's."""

from __future__ import annotations

import numpy as np
import pytest
from kinds import random_vectors

from nanov2t.core.errors import UserError
from nanov2t.stores.registry import open_source

faiss = pytest.importorskip("faiss")
VECTORS = random_vectors()[:400]
N, DIM = VECTORS.shape


def written(path, factory, ids=None):
    index = faiss.index_factory(DIM, factory)
    index.train(VECTORS)
    if ids is None:
        index.add(VECTORS)
    else:
        index.add_with_ids(VECTORS, ids)
    faiss.write_index(index, str(path))
    return str(path)


@pytest.mark.parametrize(
    ("factory", "cosine"),
    [
        ("Flat", 1),
        ("IVF4,Flat", 1),
        ("IVF4,SQ8", 0.999),
        ("IVF4,PQ4x4", 0.8),
        ("IVF4,PQ4x4fs", 0.8),
        ("PQ4x4fs", 0.8),
        ("HNSW8", 1),
        ("OPQ4,PQ4x4", 0.8),
        ("OPQ4,IVF4,PQ4x4", 0.8),
        ("OPQ4,IVF4,PQ4x4fs", 0.8),
        ("PCAR8,IVF4,Flat", 1),
        ("PCAW8,Flat", 1),
        ("RR8,SQ8", 0.999),
        ("OPQ4,HNSW8", 1),
        ("IVF4,PQ4x4,RFlat", 1),
    ],
)
def test_vectors_come_back_in_their_order_and_space(tmp_path, factory, cosine):
    store = open_source(written(tmp_path / "x.faiss", factory))
    rows = store.read(0, N)
    assert store.dim == DIM and rows.ids == list(range(N)) and not rows.errors
    norms = np.linalg.norm(rows.vectors, axis=1) * np.linalg.norm(VECTORS, axis=1)
    assert ((rows.vectors * VECTORS).sum(1) / norms).mean() > cosine - 1e-5
    assert np.array_equal(store.read(100, 200).vectors, rows.vectors[100:200])


@pytest.mark.parametrize(
    "factory",
    ["IDMap,Flat", "IDMap2,HNSW8", "IVF4,Flat", "IDMap,IVF4,Flat", "IDMap,OPQ4,IVF4,Flat"],
)
def test_rows_that_share_an_id_are_all_there(tmp_path, factory):
    ids = np.random.default_rng(1).permutation(N) // 3 * 10**12
    store = open_source(written(tmp_path / "x.index", factory, ids))
    rows = store.read(0, N)
    assert sorted(rows.ids) == sorted(ids.tolist()) and not rows.errors
    nearest = (rows.vectors @ VECTORS.T - (VECTORS**2).sum(1) / 2).argmax(1)
    assert sorted(nearest) == list(range(N))
    assert rows.ids == ids[nearest].tolist()
    assert np.allclose(rows.vectors, VECTORS[nearest], atol=1e-4)


def test_rows_that_were_removed(tmp_path):
    path = str(tmp_path / "x.faiss")
    for factory in ("IVF4,Flat", "IDMap,Flat"):
        written(path, factory, np.arange(N) * 2)
        index = faiss.read_index(path)
        index.remove_ids(np.arange(0, 100))
        faiss.write_index(index, path)
        rows = open_source(path).read(0, N - 50)
        assert rows.ids == list(range(100, 2 * N, 2))
        assert np.array_equal(rows.vectors, VECTORS[50:])


def test_lists_that_keep_equal_rows_once_are_refused(tmp_path):
    index = faiss.IndexIVFFlatDedup(faiss.IndexFlatL2(DIM), DIM, 4)
    index.train(VECTORS)
    index.add(np.repeat(VECTORS, 2, axis=0))
    faiss.write_index(index, str(tmp_path / "x.faiss"))
    with pytest.raises(UserError, match="its lists hold 400 rows of 800"):
        open_source(str(tmp_path / "x.faiss"))
