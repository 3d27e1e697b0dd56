"""Collections of Chroma."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

from nanov2t.core.errors import UserError
from nanov2t.stores.base import Fetched, Store, digest, import_client, need_key, pick
from nanov2t.stores.sqlite import check_size, connect


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
        check_size(database)
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


def _last_change(database: Path, collection: Any) -> int | None:
    """The number of the last change of a collection's rows, which its client does not tell.

    Rows that are gone miss from the count, so both together reveal every change.
    """
    with closing(connect(database)) as db:
        found: tuple[int | None] = db.execute(
            "SELECT max(embeddings.seq_id) FROM embeddings"
            " JOIN segments ON segments.id = embeddings.segment_id WHERE segments.collection = ?",
            [str(collection)],
        ).fetchone()
    return found[0]
