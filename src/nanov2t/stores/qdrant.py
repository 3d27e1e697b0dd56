"""Collections of Qdrant."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nanov2t.core.errors import UserError
from nanov2t.stores.base import (
    HEAD,
    ForwardStore,
    file_fingerprint,
    import_client,
    rows_fingerprint,
)
from nanov2t.stores.choosing import pick, split_key
from nanov2t.stores.sqlite import connect


class QdrantStore(ForwardStore):
    """A collection on a server, or in the folder that the client keeps without one."""

    schemes = ("qdrant",)
    forms = ("qdrant:PATH#COLLECTION", "qdrant:http://HOST:6333#COLLECTION.VECTOR")
    extra = "qdrant"
    own_ids = "the points' own"
    keeps_ids = True

    def __init__(self, where: str, key: str, ids: str | None):
        is_server = where.startswith(("http://", "https://"))
        self.collection = (_Server if is_server else _Folder)(where, key)
        name, kinds = self.collection.name, self.collection.kinds
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


def _kinds(params: dict[str, Any]) -> dict[str, str]:
    """The kinds of a collection's vectors by their names; the empty one is that of the vectors
    without a name."""
    named = params["vectors"] or {}
    if "size" in named:
        named = {"": named}
    multi = {name: "multi" for name, vector in named.items() if vector.get("multivector_config")}
    sparse = dict.fromkeys(params.get("sparse_vectors") or (), "sparse")
    return dict.fromkeys(named, "dense") | multi | sparse


class _Server:
    def __init__(self, where: str, key: str):
        client = import_client("qdrant_client", QdrantStore.extra).QdrantClient(where)
        names = [collection.name for collection in client.get_collections().collections]
        self.name = pick(where, split_key(key, names)[0], names)
        self.client = client
        self.kinds = _kinds(client.get_collection(self.name).config.params.model_dump())
        self.count = client.count(self.name, exact=True).count
        self.fingerprint = rows_fingerprint(self.points())

    def points(self) -> Iterator[tuple[Any, Any]]:
        """Ids, and vectors or dicts of them, in the order of the ids."""
        after = None
        while True:
            points, after = self.client.scroll(
                self.name, limit=HEAD, offset=after, with_payload=False, with_vectors=True
            )
            yield from ((point.id, point.vector) for point in points)
            if after is None:
                return


class _Folder:
    """What the client keeps are pickles. They are read here by :class:`_Plain`, not by it."""

    def __init__(self, where: str, key: str):
        folder = Path(where)
        if not (folder / "meta.json").is_file():
            server = (folder / "collections").is_dir()
            hint = ", but a server's: start it, and read qdrant:http://HOST:6333" if server else ""
            raise UserError(f"{where}: not a folder of Qdrant's client{hint}")
        known = json.loads((folder / "meta.json").read_bytes())["collections"]
        self.name = pick(where, split_key(key, known)[0], known)
        self.kinds = _kinds(known[self.name])
        database = folder / "collection" / self.name / "storage.sqlite"
        self.fingerprint = file_fingerprint(database)
        self.db = connect(database)
        [self.count] = self.db.execute("SELECT count(*) FROM points").fetchone()

    def points(self) -> Iterator[tuple[Any, Any]]:
        """Ids, and vectors or dicts of them, in the order in which they were written."""
        query = f"SELECT rowid, point FROM points WHERE rowid > ? ORDER BY rowid LIMIT {HEAD}"
        last = 0
        # All rows of a part at once: a query that stays open would keep others from writing.
        while found := self.db.execute(query, [last]).fetchall():
            for _, blob in found:
                point = _Plain(io.BytesIO(blob)).load()
                yield point.id, point.vector
            last = found[-1][0]


class _Point:
    """A point, with the attributes that the client gave it; or a sparse vector, without any."""

    id: Any = None
    vector: Any = None

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.id, self.vector = (state["__dict__"].get(name) for name in ("id", "vector"))


class _Plain(pickle._Unpickler):
    """Makes points out of plain values; a pickle that asks for anything else, which is how one runs
    code, is refused.

    It is the unpickler in Python, since the one in C lets a few damaged bytes ask for a memo of
    gigabytes.
    """

    def find_class(self, module: str, name: str) -> Any:
        known = name in ("PointStruct", "SparseVector")
        if known and module == "qdrant_client.http.models.models":
            return _Point
        raise pickle.UnpicklingError(f"asks for {module}.{name}, which may run code")
