"""Reading leaves every file as it was, also those beside a database that was left open."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from databases import Qdrant
from every_kind import Chroma
from kinds import NAMES, random_vectors

from nanov2t.core.errors import UserError
from nanov2t.stores.registry import open_source

VECTORS = random_vectors()[:300]
WRITE = """
import os, sqlite3, sys
import numpy as np
db = sqlite3.connect(sys.argv[1])
db.execute(f"PRAGMA journal_mode = {sys.argv[2]}")
db.execute("PRAGMA cache_size = 2")
db.execute("CREATE TABLE texts (vector BLOB)")
vectors = np.load(sys.argv[3])
db.executemany("INSERT INTO texts VALUES (?)", [(row.tobytes(),) for row in vectors])
db.commit()
if sys.argv[4] == "closed":
    db.close()
if sys.argv[4] == "within":
    db.execute("UPDATE texts SET vector = zeroblob(4000)")
os._exit(1)
"""
"""Writes a database and ends as if killed: with all closed, with a log left, or within a change."""


def contents(folder: Path) -> dict[str, tuple[bytes, int] | None]:
    """All files and folders, with the times of the files."""
    return {
        str(path): (path.read_bytes(), path.stat().st_mtime_ns) if path.is_file() else None
        for path in folder.rglob("*")
    }


@pytest.mark.parametrize(
    ("mode", "left", "beside"),
    [
        ("delete", "closed", "gone"),
        ("delete", "within", "kept"),
        ("persist", "closed", "kept"),
        ("wal", "closed", "gone"),
        ("wal", "open", "kept"),
        ("wal", "within", "kept"),
    ],
)
def test_sqlite(tmp_path, mode, left, beside):
    np.save(tmp_path / "vectors.npy", VECTORS)
    folder = tmp_path / "data"
    folder.mkdir()
    arguments = [str(folder / "x.db"), mode, str(tmp_path / "vectors.npy"), left]
    subprocess.run([sys.executable, "-c", WRITE, *arguments], check=False)
    for path in folder.glob("*-shm"):  # as where only the log was copied
        path.unlink()
    before = contents(folder)
    assert any(name.endswith(("-wal", "-journal")) for name in before) == (beside == "kept")
    store = open_source(str(folder / "x.db"))
    rows = store.read(0, store.count)
    assert np.array_equal(rows.vectors, VECTORS) and not rows.errors
    assert contents(folder) == before
    store._db.close()
    assert contents(folder) == before


def test_a_writer_is_neither_kept_out_nor_missed(tmp_path):
    np.save(tmp_path / "vectors.npy", VECTORS)
    place = tmp_path / "x.db"
    arguments = [str(place), "wal", str(tmp_path / "vectors.npy"), "closed"]
    subprocess.run([sys.executable, "-c", WRITE, *arguments], check=False)
    store = open_source(str(place))
    with closing(sqlite3.connect(place, timeout=0)) as db, db:
        db.execute("DELETE FROM texts")
        db.commit()
        with pytest.raises(UserError, match="holds no vectors"):  # the log counts
            open_source(str(place))
    with pytest.raises(UserError, match="it changed while it was read"):
        store.read(0, 3)


def test_qdrant_within_a_change(tmp_path):
    source = Qdrant().write(tmp_path, VECTORS.tolist(), NAMES[:300])
    database = tmp_path / "qdrant/collection/texts/storage.sqlite"
    code = (
        "import os, sqlite3, sys; db = sqlite3.connect(sys.argv[1]);"
        "db.execute('PRAGMA cache_size = 1'); db.execute('DELETE FROM points'); os._exit(1)"
    )
    subprocess.run([sys.executable, "-c", code, str(database)], check=False)
    before = contents(tmp_path)
    assert any(name.endswith("-journal") for name in before)
    store = open_source(source)
    assert np.array_equal(store.read(0, store.count).vectors, VECTORS)
    assert contents(tmp_path) == before


def test_chroma(tmp_path):
    pytest.importorskip("chromadb")
    source = Chroma().write(tmp_path, VECTORS.tolist(), NAMES[:300])
    Chroma()._forget()
    copy = tmp_path / "copy"
    shutil.copytree(tmp_path / "chroma", copy / "chroma")
    before = contents(copy)
    store = open_source(source.replace(str(tmp_path), str(copy)))
    assert np.array_equal(store.read(0, 300).vectors, VECTORS)
    assert contents(copy) == before
    with pytest.raises(UserError, match=f"read chroma:{copy}/chroma#COLLECTION"):
        open_source(str(copy / "chroma"))


@pytest.mark.parametrize("kind", ["locked", "torn", "other"])
def test_a_database_that_cannot_be_read_says_what_to_do(tmp_path, kind, monkeypatch):
    place = tmp_path / "x.db"
    with closing(sqlite3.connect(place)) as db:
        db.execute("CREATE TABLE texts (vector BLOB)")
        db.executemany("INSERT INTO texts VALUES (?)", [(row.tobytes(),) for row in VECTORS])
        db.commit()
        if kind == "locked":
            db.execute("BEGIN EXCLUSIVE")
            said = "locked: another program writes to it"
            monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, timeout=0))
        elif kind == "torn":
            place.write_bytes(place.read_bytes()[:5000] + b"\xff" * (place.stat().st_size - 5000))
            said = "malformed: save what is left with: sqlite3 FILE .recover"
        else:
            place.write_bytes(b"x" * 9999)
            said = "not a database of SQLite, or it is encrypted"
        with pytest.raises(UserError, match=said) as error:
            store = open_source(str(place))
            store.read(0, store.count)
        assert "\n" not in str(error.value)
