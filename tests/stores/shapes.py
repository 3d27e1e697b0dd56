"""Checks of the shapes of files that tools write: each gives the vectors and ids it holds, or one
true reason."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nanov2t.core.errors import UserError
from nanov2t.stores.registry import open_source

NAMES = list("abcdef")
"""Of the rows of `vectors`."""
ODD = ["a.b", "x#y", "c:d", "two words", 'it\'s "it"', "größe 向量", "data[0]", "a/b"]
"""Names of columns and keys."""


def check(source: str | Path, expected: np.ndarray, found_ids: list | None = None, ids=None):
    store = open_source(str(source), ids)
    rows = store.read(0, store.count)
    assert not rows.errors and rows.vectors.shape == expected.shape
    assert np.allclose(rows.vectors, expected.astype(np.float32), atol=1e-7)
    assert rows.ids == (found_ids or list(range(len(expected))))
    assert store.integer_ids == all(isinstance(id_, int) for id_ in rows.ids)
    last = store.read(store.count - 1, store.count)
    assert last.ids == rows.ids[-1:] and np.array_equal(last.vectors, rows.vectors[-1:])


def said(source: str | Path) -> str:
    with pytest.raises(UserError) as error:
        open_source(str(source))
    assert "\n" not in str(error.value)
    return str(error.value)


def write_lines(path: Path, documents: list) -> Path:
    path.write_text("".join(json.dumps(document) + "\n" for document in documents))
    return path
