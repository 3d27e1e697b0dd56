"""Collections of Milvus."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nanov2t.core.errors import UserError
from nanov2t.stores.base import HEAD, ForwardStore, import_client, rows_fingerprint
from nanov2t.stores.choosing import pick, split_key
from nanov2t.stores.sqlite import copied

KINDS = {
    "FLOAT_VECTOR": "float32",
    "FLOAT16_VECTOR": "float16",
    "BFLOAT16_VECTOR": "bfloat16",
    "INT8_VECTOR": "int8",
}
"""Types of fields that hold vectors, and of their numbers."""


class MilvusStore(ForwardStore):
    """A collection on a server, or in the folder of Milvus Lite; in the order of the ids."""

    schemes = ("milvus",)
    forms = ("milvus:PATH#COLLECTION", "milvus:http://HOST:19530#COLLECTION.FIELD")
    extra = "milvus"
    own_ids = "the primary key"
    keeps_ids = True

    def __init__(self, where: str, key: str, ids: str | None):
        pymilvus = import_client("pymilvus", self.extra)
        # Of calls that Milvus Lite lacks and gets on without, and of damage, with tracebacks.
        for talks in ("pymilvus", "grpc", "milvus_lite"):
            logging.getLogger(talks).setLevel(logging.CRITICAL)
        self.client = pymilvus.MilvusClient(self._server(where), timeout=10)
        names = self.client.list_collections()
        name, field = split_key(key, names)
        self.collection = pick(where, name, names)
        self.client.load_collection(self.collection)
        fields = self.client.describe_collection(self.collection)["fields"]
        kinds = {f["name"]: KINDS[f["type"].name] for f in fields if f["type"].name in KINDS}
        spec = f"milvus:{where}#{self.collection}"
        self.field = pick(spec, field, kinds)
        [primary] = [f for f in fields if f.get("is_primary")]
        self.primary = primary["name"]
        count = self._count()
        fingerprint = rows_fingerprint(self.rows())
        integers = primary["type"].name == "INT64"
        self.describe(f"{spec}.{self.field}", kinds[self.field], count, fingerprint, integers)

    def _server(self, where: str) -> str:
        """The address of a server, or of a copy of Milvus Lite's folder, since Milvus Lite writes
        to every folder that it opens, and opens none that another process has."""
        if where.startswith(("http://", "https://")):
            return where
        folder = Path(where)
        if not (folder / "collections").is_dir():
            raise UserError(f"{where}: not a folder of Milvus Lite 3")
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

    def _count(self) -> int:
        [found] = self.client.query(self.collection, filter="", output_fields=["count(*)"])
        return int(found["count(*)"])
