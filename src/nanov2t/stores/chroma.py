"""Collections of Chroma."""

from __future__ import annotations

from pathlib import Path

from nanov2t.core.errors import UserError
from nanov2t.stores.base import (
    Source,
    ends,
    import_client,
    make,
    parts,
)


def chroma(spec: str, ids: str | None) -> Source:
    """`chroma:PATH#COLLECTION`; the ids are the collection's own."""
    path, name = parts(spec)
    if ids:
        raise UserError(f"{spec}: has ids of its own")
    client = import_client("chromadb", "chroma")
    if not (Path(path) / "chroma.sqlite3").is_file():
        raise UserError(f"{path}: not a Chroma folder")
    settings = client.Settings(anonymized_telemetry=False)
    collection = client.PersistentClient(path, settings).get_collection(
        name, embedding_function=None
    )

    def fetch(start: int, stop: int) -> tuple:
        rows = collection.get(limit=stop - start, offset=start, include=["embeddings"])
        return rows["ids"], rows["embeddings"]

    count = collection.count()
    return make(spec, "float32", count, ends(fetch, count, collection.id), fetch, integer_ids=False)
