"""Collections of Qdrant."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from nanov2t.core.errors import UserError
from nanov2t.stores.base import (
    HEAD,
    ForwardStore,
    file_fingerprint,
    import_client,
    need_key,
    pick,
    rows_fingerprint,
)
from nanov2t.stores.sqlite import check_size, connect


class QdrantStore(ForwardStore):
    """A collection on a server, or in the folder that the client keeps without one."""

    schemes = ("qdrant",)
    forms = ("qdrant:PATH#COLLECTION", "qdrant:http://HOST:6333#COLLECTION.VECTOR")
    extra = "qdrant"
    own_ids = "the points' own"
    keeps_ids = True

    def __init__(self, where: str, key: str, ids: str | None):
        need_key(f"qdrant:{where}", key)
        name, _, vector = key.partition(".")
        is_server = where.startswith(("http://", "https://"))
        self.collection = (_Server if is_server else _Folder)(where, name)
        named = self.collection.names
        self.vector = pick(f"qdrant:{where}#{name}", vector, named) if named or vector else ""
        count = self.collection.count
        integers = all(isinstance(id_, int) for id_, _ in self.collection.points())
        spec = f"qdrant:{where}#{name}{'.' * bool(self.vector)}{self.vector}"
        self.describe(spec, "float32", count, self.collection.fingerprint, integers)

    def rows(self) -> Iterator[tuple[Any, Any]]:
        for id_, vectors in self.collection.points():
            if self.vector:
                vectors = vectors.get(self.vector) if isinstance(vectors, dict) else None
            yield id_, vectors


class _Server:
    def __init__(self, where: str, name: str):
        client = import_client("qdrant_client", QdrantStore.extra).QdrantClient(where)
        pick(where, name, [collection.name for collection in client.get_collections().collections])
        self.client, self.name = client, name
        vectors = client.get_collection(name).config.params.vectors
        self.names = list(vectors) if isinstance(vectors, dict) else []
        self.count = client.count(name, exact=True).count
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

    def __init__(self, where: str, name: str):
        if not (Path(where) / "meta.json").is_file():
            raise UserError(f"{where}: not a Qdrant folder")
        known = json.loads((Path(where) / "meta.json").read_bytes())["collections"]
        pick(where, name, known)
        vectors = known[name]["vectors"]
        self.names = [] if "size" in vectors else list(vectors)
        self.database = Path(where) / "collection" / name / "storage.sqlite"
        check_size(self.database)
        with closing(connect(self.database)) as db:
            [self.count] = db.execute("SELECT count(*) FROM points").fetchone()
        self.fingerprint = file_fingerprint(self.database)

    def points(self) -> Iterator[tuple[Any, Any]]:
        """Ids, and vectors or dicts of them, in the order in which they were written."""
        query = f"SELECT rowid, point FROM points WHERE rowid > ? ORDER BY rowid LIMIT {HEAD}"
        last = 0
        while True:
            with closing(connect(self.database)) as db:  # open, it would keep others from writing
                found = db.execute(query, [last]).fetchall()
            for _, blob in found:
                point = _Plain(io.BytesIO(blob)).load()
                yield point.id, point.vector
            if not found:
                return
            last = found[-1][0]


class _Point:
    """A point, with the attributes that the client gave it."""

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
        if (module, name) == ("qdrant_client.http.models.models", "PointStruct"):
            return _Point
        raise pickle.UnpicklingError(f"asks for {module}.{name}, which may run code")
