"""Collections of vector databases: Chroma, Qdrant and Milvus."""

import io
import json
import logging
import pickle
import weakref
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

from nanov2t.core.errors import UserError
from nanov2t.core.files import digest
from nanov2t.core.imports import import_client
from nanov2t.stores.base import HEAD, Fetched, Store
from nanov2t.stores.sql import connect, copied
from nanov2t.stores.values import check_ids, pick, split_key

SERVER = ("http://", "https://")
MILVUS_TYPES = {f"{kind}_VECTOR": kind.lower() for kind in ("FLOAT16", "BFLOAT16", "INT8")}
MILVUS_TYPES |= {"FLOAT_VECTOR": "float32"}  # types of vectors, and of their numbers
CHROMA_CHANGE = (
    "SELECT max(embeddings.seq_id) FROM embeddings"
    " JOIN segments ON segments.id = embeddings.segment_id WHERE segments.collection = ?"
)
"""The number of the last change; together with the count it reveals every change."""


class ChromaStore(Store):
    """A collection in a folder of Chroma, whose client writes to what it opens: here, a copy."""

    forms = ("chroma:PATH#COLLECTION",)
    extra = "chroma"
    takes_ids = True
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
        self.ids = ids
        head = self.collection.get(limit=HEAD, include=["metadatas"])["metadatas"] if ids else []
        check_ids(name, ids, {"document", *(key for row in head for key in row or ())})
        self.describe(f"chroma:{where}#{name}", "float32", count, False, digest(count, id_, change))

    def fetch(self, start: int, stop: int) -> Fetched:
        beside = {None: [], "document": ["documents"]}.get(self.ids, ["metadatas"])
        include = ["embeddings", *beside]
        rows = self.collection.get(limit=stop - start, offset=start, include=include)
        ids = rows[beside[0]] if beside else rows["ids"]
        if beside == ["metadatas"]:
            ids = [(row or {}).get(self.ids) for row in ids]
        return ids, rows["embeddings"]


class MilvusStore(Store):
    """A collection on a server, or in a folder of Milvus Lite, in the order of the ids."""

    forms = ("milvus:PATH#COLLECTION", "milvus:http://HOST:19530#COLLECTION.FIELD")
    extra = "milvus"
    takes_ids = True
    own_ids = "the primary key"
    keeps_ids = True

    def __init__(self, where: str, key: str, ids: str | None):
        pymilvus = import_client("pymilvus", self.extra)
        # They log calls that Milvus Lite does not need, and damage with a traceback.
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
        check_ids(spec, ids, types)
        [primary] = [f["name"] for f in fields if f.get("is_primary")]
        self.ids, self.id_field = ids, ids or primary
        self.describe_by_reading(f"{spec}.{self.field}", MILVUS_TYPES[types[self.field]])

    def _copied(self, folder: Path) -> str:
        """A copy, since Milvus Lite writes to what it opens, and opens nothing that is open."""
        if not (folder / "collections").is_dir():
            raise UserError(f"{folder}: not a folder of Milvus Lite 3")
        self._copy = copied(folder.rglob("*"), folder.parent)
        copy = str(Path(self._copy.name) / folder.name)
        servers = import_client("milvus_lite.server_manager", self.extra).server_manager_instance
        weakref.finalize(self, servers.release_server, copy)
        return copy

    def rows(self) -> Iterator[tuple[Any, Any]]:
        fields = [self.id_field, self.field]
        found = self.client.query_iterator(self.collection, batch_size=HEAD, output_fields=fields)
        while batch := found.next():
            yield from ((row.get(self.id_field), row[self.field]) for row in batch)
        found.close()


class QdrantStore(Store):
    """A collection on a server, or in the folder that the client keeps without one."""

    forms = ("qdrant:PATH#COLLECTION", "qdrant:http://HOST:6333#COLLECTION.VECTOR")
    extra = "qdrant"
    takes_ids = True
    own_ids = "the points' own"
    keeps_ids = True

    def __init__(self, where: str, key: str, ids: str | None):
        opened = _qdrant_server if where.startswith(SERVER) else _qdrant_folder
        self.ids = ids
        name, params, self.points = opened(where, key)
        spec, vector = f"qdrant:{where}#{name}", key[len(name) + 1 :]
        named = params["vectors"] or {}
        kinds = {
            name: "multi" if settings.get("multivector_config") else "dense"
            for name, settings in ({"": named} if "size" in named else named).items()
        } | dict.fromkeys(params.get("sparse_vectors") or (), "sparse")
        dense = [name for name, kind in kinds.items() if kind == "dense"]
        if not dense or kinds.get(vector, "dense") != "dense":
            held = ", ".join(f"{kind} vectors {name}".strip() for name, kind in kinds.items())
            raise UserError(f"{spec}: holds {held}; only dense ones, one a point, can be inverted")
        self.vector = pick(spec, vector, dense)
        head = (point.payload or () for point in islice(self.points(), HEAD)) if ids else ()
        check_ids(spec, ids, {key for payload in head for key in payload})
        self.describe_by_reading(spec + f".{self.vector}" * bool(self.vector), "float32")

    def rows(self) -> Iterator[tuple[Any, Any]]:
        for point in self.points():
            vectors, payload = point.vector, point.payload or {}
            id_ = payload.get(self.ids) if self.ids else point.id
            yield id_, vectors.get(self.vector) if isinstance(vectors, dict) else vectors


Collection = tuple[str, dict[str, Any], Callable[[], Iterator[Any]]]
"""Its name, its parameters, and a function that gives its points."""


def _qdrant_server(where: str, key: str) -> Collection:
    client = import_client("qdrant_client", QdrantStore.extra).QdrantClient(where)
    names = [collection.name for collection in client.get_collections().collections]
    name = pick(where, split_key(key, names)[0], names)

    def points() -> Iterator[Any]:
        after: Any = None
        while True:
            found, after = client.scroll(
                name, limit=HEAD, offset=after, with_payload=True, with_vectors=True
            )
            yield from found
            if after is None:
                return

    return name, client.get_collection(name).config.params.model_dump(), points


def _qdrant_folder(where: str, key: str) -> Collection:
    """The client keeps pickles; :class:`_Unpickler` reads them, so that they cannot run code."""
    folder = Path(where)
    if not (folder / "meta.json").is_file():
        server = (folder / "collections").is_dir()
        hint = ", but a server's: start it, and read qdrant:http://HOST:6333" if server else ""
        raise UserError(f"{where}: not a folder of Qdrant's client{hint}")
    known = json.loads((folder / "meta.json").read_bytes())["collections"]
    name = pick(where, split_key(key, known)[0], known)
    db = connect(folder / "collection" / name / "storage.sqlite")

    def points() -> Iterator[Any]:
        query = f"SELECT rowid, point FROM points WHERE rowid > ? ORDER BY rowid LIMIT {HEAD}"
        last = 0
        # A chunk at once, since an open query would lock others out.
        while found := db.execute(query, [last]).fetchall():
            for _, blob in found:
                yield _Unpickler(io.BytesIO(blob)).load()
            last = found[-1][0]

    return name, known[name], points


class _Point:
    """A point; or a sparse vector, whose attributes are None."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name in ("id", "vector", "payload"):
            setattr(self, name, state["__dict__"].get(name))


class _Unpickler(pickle._Unpickler):
    """Makes points of plain values, and refuses what could run code. A few damaged bytes could make
    the unpickler in C reserve gigabytes of memory."""

    def find_class(self, module: str, name: str) -> Any:
        known = module == "qdrant_client.http.models.models"
        if known and name in ("PointStruct", "SparseVector"):
            return _Point
        raise pickle.UnpicklingError(f"asks for {module}.{name}, which may run code")
