"""What a kind of store is to the tests, and the kinds that are files."""

from __future__ import annotations

import json
import shutil
from abc import ABC, abstractmethod
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import save_file

N, DIM = 2500, 8
NAMES = [f"row {i}" for i in range(N)]

Row = list[Any] | None
"""A vector as its writer gets it; None where there is none."""


class Kind(ABC):
    """A kind of store.

    Attributes:
        client: the module that must be installed.
        ids: the column of the names of the rows, if it has one.
        own_ids: ids without a column: of the rows' numbers, or of their names.
        holds: bad vectors that its writer lets in.
        named: what is named where the `#COLUMN` does not exist; empty if there are no columns.
    """

    client = ""
    ids: str | None = None
    own_ids = "number"
    holds: tuple[str, ...] = ()
    named: tuple[str, ...] = ()

    @abstractmethod
    def write(self, place: Any, rows: list[Row], names: list[str]) -> str:
        """Write rows into a new folder, or on a server; returns the SOURCE."""

    @abstractmethod
    def change(self, source: str, row: int, name: str, rows: list[Row], names: list[str]) -> None:
        """Change the vector of a row of a written store to that in `rows`."""

    @abstractmethod
    def move(self, source: str) -> str:
        """Move the store; returns the new SOURCE."""

    @abstractmethod
    def cut(self, source: str, share: float) -> None:
        """Cut off the end of what the rows are kept in, down to a share of it."""

    def wrong_column(self, source: str) -> str:
        return source.partition("#")[0] + "#none"

    def __str__(self) -> str:
        return type(self).__name__


class File(Kind):
    """A kind that is a single file."""

    suffix: str
    key = ""

    @abstractmethod
    def save(self, path: Path, rows: list[Row], names: list[str]) -> None: ...

    def write(self, place, rows, names):
        path = place / f"vectors{self.suffix}"
        self.save(path, rows, names)
        return f"{path}{self.key}"

    def change(self, source, row, name, rows, names):
        self.save(Path(source.partition("#")[0]), rows, names)

    def move(self, source):
        path = Path(source.partition("#")[0])
        moved = path.rename(path.with_stem("moved"))
        return f"{moved}{self.key}"

    def cut(self, source, share):
        cut_file(Path(source.partition("#")[0]), share)


class Folder(Kind):
    """A kind that is a folder; its SOURCE is `scheme:FOLDER#NAME`."""

    def move(self, source):
        scheme, _, rest = source.partition(":")
        folder, _, name = rest.partition("#")
        moved = shutil.move(folder, Path(folder).with_stem("moved"))
        return f"{scheme}:{moved}#{name}"


def cut_file(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: min(len(content) - 1, int(len(content) * share))])


class Npy(File):
    suffix, holds = ".npy", ("nan", "zero")

    def save(self, path, rows, names):
        np.save(path, np.array(rows, np.float32))


class NpyByColumn(Npy):
    def save(self, path, rows, names):
        np.save(path, np.asfortranarray(np.array(rows, np.float32)))


class Safetensors(File):
    suffix, holds, named = ".safetensors", ("nan", "zero"), ("other", "vector")

    def save(self, path, rows, names):
        vectors = np.array(rows, np.float32)
        save_file({"vector": vectors, "other": vectors[:3]}, path)


class ParquetLists(File):
    suffix, key, ids = ".parquet", "#vector", "name"
    holds, named = ("nan", "zero", "missing", "length"), ("vector",)
    type = pa.list_(pa.float32())

    def save(self, path, rows, names):
        table = pa.table({"name": names, "vector": pa.array(rows, self.type)})
        pq.write_table(table, path, row_group_size=700)


class ParquetFixed(ParquetLists):
    holds = ("nan", "zero", "missing")

    def save(self, path, rows, names):
        self.type = pa.list_(pa.float32(), len(rows[0]))
        super().save(path, rows, names)


class Jsonl(File):
    suffix, ids = ".jsonl", "name"
    holds, named = ("nan", "zero", "missing", "length"), ("embedding",)

    def save(self, path, rows, names):
        lines = [
            json.dumps({"name": name, "embedding": row}) + "\n\n"
            for name, row in zip(names, rows, strict=True)
        ]
        path.write_text("".join(lines))


class FaissFlat(File):
    suffix, client, factory = ".faiss", "faiss", "Flat"
    holds: tuple[str, ...] = ("nan", "zero")

    def save(self, path, rows, names):
        import faiss

        vectors = np.array(rows, np.float32)
        index = faiss.index_factory(vectors.shape[1], self.factory)
        index.train(vectors)
        index.add(vectors)
        faiss.write_index(index, str(path))


class FaissLists(FaissFlat):
    factory, holds = "IVF4,Flat", ("zero",)


class FaissGraph(FaissFlat):
    factory, holds = "HNSW8", ("zero",)


def random_vectors() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((N, DIM), np.float32)


def installed(kind: Kind) -> bool:
    return not kind.client or find_spec(kind.client) is not None
