"""Collections of vector databases: Chroma, Qdrant and Milvus."""

from __future__ import annotations

import io
import json
import logging
import pickle
import weakref
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from nanov2t.core.errors import UserError
from nanov2t.core.files import digest, file_fingerprint
from nanov2t.core.imports import import_client
from nanov2t.stores.base import HEAD, Fetched, ForwardStore, Store, rows_fingerprint
from nanov2t.stores.choosing import pick, split_key
from nanov2t.stores.sql import connect, copied

SERVER = ("http://", "https://")
MILVUS_TYPES = {
    "FLOAT_VECTOR": "float32",
    "FLOAT16_VECTOR": "float16",
    "BFLOAT16_VECTOR": "bfloat16",
    "INT8_VECTOR": "int8",
}
"""Types of fields that hold vectors, and the types of their numbers."""
CHROMA_CHANGE = (
    "SELECT max(embeddings.seq_id) FROM embeddings"
    " JOIN segments ON segments.id = embeddings.segment_id WHERE segments.collection = ?"
)
"""The number of the last change; together with the count it reveals every change."""


class ChromaStore(Store):
    """A collection in a folder of Chroma. Its client writes to every folder that it opens, so it
    opens a copy."""

    schemes = ("chroma",)
    forms = ("chroma:PATH#COLLECTION",)
    extra = "chroma"
    own_ids = "the collection's own"

    def __init__(self, where: str, key: str, ids: str | None):
        chromadb = import_client("chromadb", self.extra)
        folder = Path(where)
        if not (folder / "chroma.sqlite3").is_file():
            raise UserError(f"{where}: not a Chroma folder")
        self._copy = copied(folder.rglob("*"), folder)
        database = Path(self._copy.name) / "chroma.sqlite3"
        connect(database).close()  # refuses a file that was cut short
        settings = chromadb.Settings(anonymized_telemetry=False)
        client = chromadb.PersistentClient(self._copy.name, settings)
        weakref.finalize(self, client.close)
        name = pick(where, key, [collection.name for collection in client.list_collections()])
        self.collection = client.get_collection(name, embedding_function=None)
        count, id_ = self.collection.count(), self.collection.id
        with closing(connect(database)) as db:
            [change] = db.execute(CHROMA_CHANGE, [str(id_)]).fetchone()
        fingerprint = digest(count, id_, change)
        self.describe(f"chroma:{where}#{name}", "float32", count, fingerprint, integer_ids=False)

    def fetch(self, start: int, stop: int) -> Fetched:
        rows = self.collection.get(limit=stop - start, offset=start, include=["embeddings"])
        return rows["ids"], rows["embeddings"]


class MilvusStore(ForwardStore):
    """A collection on a server, or in a folder of Milvus Lite, in the order of the ids."""

    schemes = ("milvus",)
    forms = ("milvus:PATH#COLLECTION", "milvus:http://HOST:19530#COLLECTION.FIELD")
    extra = "milvus"
    own_ids = "the primary key"
    keeps_ids = True

    def __init__(self, where: str, key: str, ids: str | None):
        pymilvus = import_client("pymilvus", self.extra)
        # They log calls that Milvus Lite lacks but does without, and damage with a traceback.
        for name in ("pymilvus", "grpc", "milvus_lite"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        server = where if where.startswith(SERVER) else self._copied(Path(where))
        self.client = pymilvus.MilvusClient(server, timeout=10)
        names = self.client.list_collections()
        name, field = split_key(key, names)
        self.collection = pick(where, name, names)
        self.client.load_collection(self.collection)
        fields = self.client.describe_collection(self.collection)["fields"]
        types = {f["name"]: f["type"].name for f in fields}
        spec = f"milvus:{where}#{self.collection}"
        self.field = pick(spec, field, [n for n, type_ in types.items() if type_ in MILVUS_TYPES])
        [self.primary] = [f["name"] for f in fields if f.get("is_primary")]
        [counted] = self.client.query(self.collection, filter="", output_fields=["count(*)"])
        self.describe(
            f"{spec}.{self.field}",
            MILVUS_TYPES[types[self.field]],
            int(counted["count(*)"]),
            rows_fingerprint(self.rows()),
            integer_ids=types[self.primary] == "INT64",
        )

    def _copied(self, folder: Path) -> str:
        """A copy of a folder of Milvus Lite, which writes to every folder that it opens, and opens
        none that another process has open."""
        if not (folder / "collections").is_dir():
            raise UserError(f"{folder}: not a folder of Milvus Lite 3")
        self._copy = copied(folder.rglob("*"), folder.parent)
        copy = str(Path(self._copy.name) / folder.name)
        servers = import_client("milvus_lite.server_manager", self.extra).server_manager_instance
        weakref.finalize(self, servers.release_server, copy)
        return copy

    def rows(self) -> Iterator[tuple[Any, Any]]:
        found = self.client.query_iterator(
            self.collection, batch_size=HEAD, output_fields=[self.field]
        )
        while batch := found.next():
            yield from ((row[self.primary], row[self.field]) for row in batch)
        found.close()


class QdrantStore(ForwardStore):
    """A collection on a server, or in the folder that the client keeps without one."""

    schemes = ("qdrant",)
    forms = ("qdrant:PATH#COLLECTION", "qdrant:http://HOST:6333#COLLECTION.VECTOR")
    extra = "qdrant"
    own_ids = "the points' own"
    keeps_ids = True

    def __init__(self, where: str, key: str, ids: str | None):
        self.collection = (_QdrantServer if where.startswith(SERVER) else _QdrantFolder)(where, key)
        name, kinds = self.collection.name, _qdrant_kinds(self.collection.params)
        spec = f"qdrant:{where}#{name}"
        vector = key[len(name) + 1 :]
        dense = [vector for vector, kind in kinds.items() if kind == "dense"]
        if not dense or kinds.get(vector, "dense") != "dense":
            held = ", ".join(f"{kind} vectors {name}".strip() for name, kind in kinds.items())
            raise UserError(f"{spec}: holds {held}; only dense ones, one a point, can be inverted")
        self.vector = pick(spec, vector, dense) if vector or "" not in dense else ""
        integers = all(isinstance(id_, int) for id_, _ in self.collection.points())
        spec += f".{self.vector}" if self.vector else ""
        facts = self.collection.count, self.collection.fingerprint
        self.describe(spec, "float32", *facts, integers)

    def rows(self) -> Iterator[tuple[Any, Any]]:
        for id_, vectors in self.collection.points():
            yield id_, vectors.get(self.vector) if isinstance(vectors, dict) else vectors


class _QdrantServer:
    def __init__(self, where: str, key: str):
        self.client = import_client("qdrant_client", QdrantStore.extra).QdrantClient(where)
        names = [collection.name for collection in self.client.get_collections().collections]
        self.name = pick(where, split_key(key, names)[0], names)
        self.params = self.client.get_collection(self.name).config.params.model_dump()
        self.count = self.client.count(self.name, exact=True).count
        self.fingerprint = rows_fingerprint(self.points())

    def points(self) -> Iterator[tuple[Any, Any]]:
        """Id, and vector or dict of vectors, of every point, in the order of the ids."""
        after = None
        while True:
            points, after = self.client.scroll(
                self.name, limit=HEAD, offset=after, with_payload=False, with_vectors=True
            )
            yield from ((point.id, point.vector) for point in points)
            if after is None:
                return


class _QdrantFolder:
    """The client keeps pickles; :class:`_Unpickler` reads them, so that they cannot run code."""

    def __init__(self, where: str, key: str):
        folder = Path(where)
        if not (folder / "meta.json").is_file():
            server = (folder / "collections").is_dir()
            hint = ", but a server's: start it, and read qdrant:http://HOST:6333" if server else ""
            raise UserError(f"{where}: not a folder of Qdrant's client{hint}")
        known = json.loads((folder / "meta.json").read_bytes())["collections"]
        self.name = pick(where, split_key(key, known)[0], known)
        self.params = known[self.name]
        database = folder / "collection" / self.name / "storage.sqlite"
        self.fingerprint = file_fingerprint(database)
        self.db = connect(database)
        [self.count] = self.db.execute("SELECT count(*) FROM points").fetchone()

    def points(self) -> Iterator[tuple[Any, Any]]:
        """Id, and vector or dict of vectors, of every point, in the order of writing."""
        query = f"SELECT rowid, point FROM points WHERE rowid > ? ORDER BY rowid LIMIT {HEAD}"
        last = 0
        # A chunk at once, since an open query would lock others out.
        while found := self.db.execute(query, [last]).fetchall():
            for _, blob in found:
                point = _Unpickler(io.BytesIO(blob)).load()
                yield point.id, point.vector
            last = found[-1][0]


class _Point:
    """A point; or a sparse vector, without attributes."""

    id: Any = None
    vector: Any = None

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.id, self.vector = (state["__dict__"].get(name) for name in ("id", "vector"))


class _Unpickler(pickle._Unpickler):
    """Makes points of plain values, and refuses a pickle that asks for anything else, since that is
    how one runs code. In C, a few damaged bytes could ask for gigabytes of memory."""

    def find_class(self, module: str, name: str) -> Any:
        known = name in ("PointStruct", "SparseVector")
        if known and module == "qdrant_client.http.models.models":
            return _Point
        raise pickle.UnpicklingError(f"asks for {module}.{name}, which may run code")


def _qdrant_kinds(params: dict[str, Any]) -> dict[str, str]:
    """dense, multi or sparse, by the name of the vector; unnamed vectors have an empty one."""
    named = params["vectors"] or {}
    if "size" in named:
        named = {"": named}
    multi = {name: "multi" for name, vector in named.items() if vector.get("multivector_config")}
    sparse = dict.fromkeys(params.get("sparse_vectors") or (), "sparse")
    return dict.fromkeys(named, "dense") | multi | sparse
