from __future__ import annotations

from pathlib import Path

import pytest
import tiny
from bulk_store import Store
from support import vectors_with_bad_rows


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    folder = tmp_path_factory.mktemp("store")
    tiny.inverter(folder / "inverter", tokens=3)
    vectors_with_bad_rows(folder / "vectors.npy")
    return Store(folder / "inverter", folder / "vectors.npy")


@pytest.fixture(scope="module")
def whole(store, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "out"
    store.invert(out)
    return out
