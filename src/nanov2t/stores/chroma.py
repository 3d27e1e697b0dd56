"""Collections of Chroma."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from nanov2t.core.errors import UserError
from nanov2t.stores.base import Fetched, Store, digest, import_client, need_key, pick


class ChromaStore(Store):
    """A collection of a folder of Chroma's; the ids are the collection's own."""

    schemes = ("chroma",)
    forms = ("chroma:PATH#COLLECTION",)
    extra = "chroma"
    own_ids = "the collection's own"

    def __init__(self, where: str, key: str, ids: str | None):
        need_key(f"chroma:{where}", key)
        chromadb = import_client("chromadb", self.extra)
        database = Path(where) / "chroma.sqlite3"
        if not database.is_file():
            raise UserError(f"{where}: not a Chroma folder")
        _check_size(database)
        settings = chromadb.Settings(anonymized_telemetry=False)
        client = chromadb.PersistentClient(where, settings)
        name = pick(where, key, [collection.name for collection in client.list_collections()])
        self.collection = client.get_collection(name, embedding_function=None)
        count = self.collection.count()
        fingerprint = digest(count, self.collection.id, _last_change(database, self.collection.id))
        self.describe(f"chroma:{where}#{key}", "float32", count, fingerprint, integer_ids=False)

    def fetch(self, start: int, stop: int) -> Fetched:
        rows = self.collection.get(limit=stop - start, offset=start, include=["embeddings"])
        return rows["ids"], rows["embeddings"]


def _check_size(database: Path) -> None:
    """Refuse a file of SQLite that was cut short, which it would not notice before it meets what
    is missing."""
    with open(database, "rb") as file:
        header = file.read(100)
    page_size, pages = int.from_bytes(header[16:18]), int.from_bytes(header[28:32])
    if database.stat().st_size < max(100, pages * page_size):
        raise ValueError(f"{database.name} was cut short")


def _last_change(database: Path, collection: Any) -> int | None:
    """The number of the last change of a collection's rows, which its client does not tell.

    Rows that are gone miss from the count, so both together reveal every change.
    """
    connection = sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)
    try:
        found: tuple[int | None] = connection.execute(
            "SELECT max(embeddings.seq_id) FROM embeddings"
            " JOIN segments ON segments.id = embeddings.segment_id WHERE segments.collection = ?",
            [str(collection)],
        ).fetchone()
    finally:
        connection.close()
    return found[0]
