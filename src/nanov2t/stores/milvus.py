"""Collections of Milvus."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nanov2t.core.errors import UserError
from nanov2t.stores.base import (
    HEAD,
    ForwardStore,
    import_client,
    need_key,
    pick,
    rows_fingerprint,
)

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
        need_key(f"milvus:{where}", key)
        pymilvus = import_client("pymilvus", self.extra)
        # Of calls that Milvus Lite lacks and gets on without, and of damage, with tracebacks.
        for talks in ("pymilvus", "grpc", "milvus_lite"):
            logging.getLogger(talks).setLevel(logging.CRITICAL)
        if not where.startswith(("http://", "https://")) and not Path(where).exists():
            raise UserError(f"{where}: no such folder")  # which Milvus Lite would make
        self.collection, _, field = key.partition(".")
        self.client = pymilvus.MilvusClient(where, timeout=10)
        pick(where, self.collection, self.client.list_collections())
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
