"""What holds of every kind of store."""

from __future__ import annotations

import gc
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from every_kind import KINDS, Postgres
from kinds import DIM, NAMES, File, Kind, N, installed, random_vectors

from nanov2t.core.errors import UserError
from nanov2t.stores.registry import STORES, _marks, open_source

SLICES = [(0, 10), (1000, 1100), (N - 5, N), (3, 4), (900, 2200)]
BAD = {
    "nan": ([float("nan")] * DIM, "not finite"),
    "zero": ([0.0] * DIM, "zero"),
    "missing": (None, "missing"),
    "length": ([1.0] * 3, f"3 dimensions, not {DIM}"),
}


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return random_vectors()


@pytest.fixture(params=KINDS, ids=str)
def kind(request) -> Kind:
    if not installed(request.param):
        pytest.skip(f"{request.param.client} is not installed")
    return request.param


@pytest.fixture
def place(request, kind, tmp_path):
    """Where a kind is written: a folder, or a server."""
    return request.getfixturevalue("server") if isinstance(kind, Postgres) else tmp_path


@pytest.fixture
def source(kind, place, vectors) -> str:
    return kind.write(place, vectors.tolist(), NAMES)


def refused(source: str) -> str:
    """The one line with which a source is refused when it is opened or read."""
    with pytest.raises(UserError) as error:
        store = open_source(source)
        store.read(0, store.count)
    said = str(error.value)
    assert said and "\n" not in said
    return said


def test_every_kind_is_here():
    assert len(STORES) == len({store.forms for store in STORES})
    tested = {k.suffix for k in KINDS if isinstance(k, File)} | {
        "chroma",
        "delta",
        "lancedb",
        "postgresql",
        "qdrant",
        "milvus",
        ".zarr",
    }
    assert all(tested & {*_marks(store)} for store in STORES)


def test_rows_in_order_with_their_ids(kind, source, vectors):
    for column in {None, kind.ids}:
        store = open_source(source, column)
        assert (store.count, store.dim, store.ids) == (N, DIM, column)
        named = column is not None or kind.own_ids == "name"
        assert store.integer_ids != named
        whole = store.read(0, N)
        assert whole.vectors.dtype == np.float32 and not whole.errors
        assert np.array_equal(whole.vectors, vectors)
        assert whole.ids == (NAMES if named else list(range(N)))


def test_reading_changes_nothing(kind, source, place):
    if isinstance(kind, Postgres):
        pytest.skip("its server keeps the files")
    before = hashes(place)
    store = open_source(source, kind.ids)
    store.read(0, N)
    del store
    gc.collect()
    assert hashes(place) == before


def hashes(folder: Path) -> dict[str, str]:
    """Those of the contents of all files, and the names of all folders."""
    return {
        str(path.relative_to(folder)): sha256(
            path.read_bytes() if path.is_file() else b""
        ).hexdigest()
        for path in folder.rglob("*")
    }


def test_a_slice_is_that_of_the_whole(source):
    store = open_source(source)
    whole = store.read(0, N)
    for start, stop in SLICES:
        rows = store.read(start, stop)
        assert rows.ids == whole.ids[start:stop]
        assert np.array_equal(rows.vectors, whole.vectors[start:stop])


def test_bad_rows_are_named_and_stop_nothing(kind, place, vectors):
    rows, expected = vectors[:20].tolist(), {}
    for position, name in enumerate(kind.holds, 5):
        rows[position], expected[position] = BAD[name]
    store = open_source(kind.write(place, rows, NAMES[:20]))
    found = store.read(0, 20)
    assert (store.count, store.dim) == (20, DIM)
    assert found.errors == expected
    good = [i for i in range(20) if i not in expected]
    assert np.array_equal(found.vectors[good], vectors[good])
    assert not found.vectors[list(expected)].any()
    assert store.read(6, 20).errors == {i - 6: why for i, why in expected.items() if i >= 6}


def test_the_fingerprint_is_of_the_contents(kind, source, vectors):
    before = open_source(source).fingerprint
    assert open_source(source).fingerprint == before
    moved = kind.move(source)
    assert open_source(moved).fingerprint == before
    rows = vectors.tolist()
    rows[N // 2] = rows[0]
    kind.change(moved, N // 2, NAMES[N // 2], rows, NAMES)
    assert open_source(moved).fingerprint != before


@pytest.mark.parametrize("share", [0.001, 0.5, 0.999])
def test_what_was_cut_short_is_refused(kind, source, share):
    if isinstance(kind, Postgres):
        pytest.skip("its server keeps the files")
    kind.cut(source, share)
    refused(source)


def test_a_column_that_does_not_exist(kind, source):
    said = refused(kind.wrong_column(source))
    assert "none" in said and "secret" not in said
    assert all(name in said for name in kind.named)


def test_ids_are_taken_from_columns_only(kind, source):
    with pytest.raises(UserError, match=r"no columns|no column uuid, only"):
        open_source(source, "uuid")
