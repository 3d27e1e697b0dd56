"""Every kind of store, written with the tool that people write it with: SQLite, HDF5 and Zarr."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
from kinds import File, Kind, Npy, cut_file

TABLE = "CREATE TABLE embeddings (collection_id INTEGER, name TEXT, embedding BLOB, hash BLOB)"


class Sqlite(File):
    """Blobs of float32, as llm keeps them."""

    suffix, ids, named = ".db", "name", ("embeddings.embedding",)
    holds: tuple[str, ...] = ("nan", "zero", "missing", "length")

    def save(self, path, rows, names):
        path.unlink(missing_ok=True)
        with closing(sqlite3.connect(path)) as db, db:
            db.execute(TABLE)
            for name, row in zip(names, rows, strict=True):
                values = (1, name, self.cell(row), b"16 bytes of hash")
                db.execute("INSERT INTO embeddings VALUES (?, ?, ?, ?)", values)

    def cell(self, row):
        return None if row is None else np.array(row, np.float32).tobytes()


class SqliteDoubles(Sqlite):
    """Blobs of float64, as numpy's own numbers are."""

    def cell(self, row):
        return None if row is None else np.array(row, np.float64).tobytes()


class SqliteText(Sqlite):
    suffix, holds = ".sqlite", ("zero", "missing", "length")

    def cell(self, row):
        return None if row is None else str(row)


class SqliteVec(File):
    """A table of sqlite-vec's, some of whose rows were deleted."""

    suffix, key, client, ids = ".sqlite3", "#docs.emb", "apsw", "name"
    named, holds = ("docs.emb", "docs.coarse"), ("nan", "zero")

    def save(self, path, rows, names):
        import apsw
        import sqlite_vec

        path.unlink(missing_ok=True)
        db = apsw.Connection(str(path))
        db.enable_load_extension(True)
        db.load_extension(sqlite_vec.loadable_path())
        dim = len(rows[0])
        db.execute(
            f"CREATE VIRTUAL TABLE docs USING vec0(name text primary key, topic text,"
            f" emb float[{dim}], coarse int8[{dim}], +note text)"
        )
        insert = "INSERT INTO docs VALUES (?, 'a', ?, vec_int8(?), 'x')"
        with db:
            for i, (name, row) in enumerate(zip(names, rows, strict=True)):
                vector = np.array(row, np.float32)
                coarse = np.nan_to_num(vector).astype(np.int8).tobytes()
                if i % 10 == 0:
                    db.execute(insert, (f"gone {i}", vector.tobytes(), coarse))
                db.execute(insert, (name, vector.tobytes(), coarse))
            db.execute("DELETE FROM docs WHERE name LIKE 'gone%'")
        db.close()


class Hdf5(Npy):
    suffix, key, client, named = ".h5", "#train", "h5py", ("train", "groups/test")

    def save(self, path, rows, names):
        import h5py

        vectors = np.array(rows, np.float32)
        with h5py.File(path, "w") as file:
            options = {"chunks": (10, vectors.shape[1]), "compression": "gzip", "fletcher32": True}
            file.create_dataset("train", data=vectors, **options)
            file.create_dataset("groups/test", data=vectors[:3])
            file.create_dataset("numbers", data=np.arange(9))


class Zarr(Kind):
    client, holds, named = "zarr", ("nan", "zero"), ("emb", "other")

    def write(self, place, rows, names):
        import zarr

        vectors = np.array(rows, np.float32)
        group = zarr.create_group(place / "vectors.zarr")
        for name, values in (("emb", vectors), ("other", vectors[:3])):
            array = group.create_array(name, shape=values.shape, chunks=(700, 8), dtype="float32")
            array[:] = values
        return f"{place / 'vectors.zarr'}#emb"

    def change(self, source, row, name, rows, names):
        import zarr

        zarr.open_group(source.partition("#")[0])["emb"][row] = rows[row]

    def move(self, source):
        folder = Path(source.partition("#")[0])
        return f"{shutil.move(folder, folder.with_stem('moved'))}#emb"

    def cut(self, source, share):
        for path in Path(source.partition("#")[0]).rglob("emb/c/*/*"):
            cut_file(path, share)


BINARIES: list[Kind] = [Sqlite(), SqliteDoubles(), SqliteText(), SqliteVec(), Hdf5(), Zarr()]
