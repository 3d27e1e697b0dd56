"""Vectors that a server was paid for, kept on disk, so that no work is lost or paid twice."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nanov2t.core.errors import UserError

MOST = 200_000
"""Vectors that are kept; the oldest go first."""


class KeptVectors:
    """Vectors by the hashes of their texts; the texts themselves are not kept.

    Args:
        path: of an SQLite file, shared by any number of processes.

    Raises:
        UserError: the file cannot be opened.
    """

    def __init__(self, path: Path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._base = sqlite3.connect(path, timeout=60)
            self._base.execute("create table if not exists kept (text blob unique, vector blob)")
        except (OSError, sqlite3.Error) as error:
            raise UserError(f"{path}: cannot keep vectors: {error}") from None

    def find(self, texts: Sequence[str]) -> dict[str, np.ndarray]:
        """The vectors, float32 [dim], of those of the texts that are kept."""
        query, found = "select vector from kept where text = ?", {}
        for text in texts:
            for (vector,) in self._base.execute(query, (_key(text),)):
                found[text] = np.frombuffer(vector, np.float32)
        return found

    def add(self, texts: Sequence[str], vectors: np.ndarray) -> None:
        """Keep vectors, float32 [n, dim]."""
        rows = [(_key(t), v.tobytes()) for t, v in zip(texts, vectors, strict=True)]
        with self._base:
            self._base.executemany("insert or replace into kept values (?, ?)", rows)
            newest = "(select max(rowid) from kept)"
            self._base.execute(f"delete from kept where rowid <= {newest} - ?", (MOST,))


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
