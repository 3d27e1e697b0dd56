"""Every kind of store, written with the tool that people write it with: Qdrant, Milvus Lite and
Delta."""

from __future__ import annotations

from contextlib import closing, contextmanager
from pathlib import Path

import pyarrow as pa
from kinds import Folder, Kind, cut_file


class Qdrant(Folder):
    """The folder that Qdrant's client keeps without a server."""

    client, ids, holds, named = "qdrant_client", "name", ("zero",), ("texts",)

    def write(self, place, rows, names):
        from qdrant_client import models

        size = models.VectorParams(size=len(rows[0]), distance="Dot")
        with self._client(place / "qdrant") as client:
            client.create_collection("texts", vectors_config=size)
            # It commits every point by itself, and would wait for the disk each time.
            storage = client._client.collections["texts"].storage.storage
            storage.execute("PRAGMA synchronous = OFF")
            storage.execute("PRAGMA journal_mode = MEMORY")
            payload = [{"name": name} for name in names]
            client.upload_collection("texts", rows, payload, ids=range(len(rows)))
        return f"qdrant:{place / 'qdrant'}#texts"

    def change(self, source, row, name, rows, names):
        from qdrant_client import models

        with self._client(source.partition(":")[2].partition("#")[0]) as client:
            client.update_vectors("texts", [models.PointVectors(id=row, vector=rows[row])])

    def cut(self, source, share):
        folder = Path(source.partition(":")[2].partition("#")[0])
        cut_file(folder / "collection/texts/storage.sqlite", share)

    @contextmanager
    def _client(self, folder):
        from qdrant_client import QdrantClient

        with closing(QdrantClient(path=str(folder))) as client:
            yield client


class Milvus(Folder):
    client, holds, named = "pymilvus", ("zero",), ("texts",)

    def write(self, place, rows, names):
        with self._client(place / "milvus.db") as client:
            client.create_collection("texts", dimension=len(rows[0]), auto_id=False)
            numbered = enumerate(zip(names, rows, strict=True))
            client.insert("texts", [{"id": i, "name": n, "vector": r} for i, (n, r) in numbered])
        return f"milvus:{place / 'milvus.db'}#texts"

    def move(self, source):
        self._forget()
        return super().move(source)

    def change(self, source, row, name, rows, names):
        self._forget()
        with self._client(source.partition(":")[2].partition("#")[0]) as client:
            client.upsert("texts", [{"id": row, "name": name, "vector": rows[row]}])

    def cut(self, source, share):
        folder = Path(source.partition(":")[2].partition("#")[0])
        self._forget()
        for path in [*folder.rglob("*.arrow"), *folder.rglob("*.parquet")]:
            cut_file(path, share)

    @contextmanager
    def _client(self, folder):
        from pymilvus import MilvusClient

        with closing(MilvusClient(str(folder))) as client:
            yield client
        self._forget()

    def _forget(self):
        """Stop what serves all folders in this process, as its end would."""
        from milvus_lite.server_manager import server_manager_instance

        server_manager_instance.release_all()


class Delta(Folder):
    """A table some of whose files no longer count."""

    client, ids, named = "deltalake", "name", ("vector",)
    holds = ("nan", "zero", "missing", "length")

    def write(self, place, rows, names):
        self._save(place / "delta", rows[::-1], names[::-1])
        self._save(place / "delta", rows, names)
        return f"delta:{place / 'delta'}"

    def change(self, source, row, name, rows, names):
        self._save(source.partition(":")[2].partition("#")[0], rows, names)

    def cut(self, source, share):
        for path in Path(source.partition(":")[2]).glob("*.parquet"):
            cut_file(path, share)

    def _save(self, folder, rows, names):
        from deltalake import write_deltalake

        vectors = pa.array(rows, pa.list_(pa.float32()))
        table = pa.table({"name": names, "vector": vectors})
        write_deltalake(folder, table, mode="overwrite")


DATABASES: list[Kind] = [Qdrant(), Milvus(), Delta()]
