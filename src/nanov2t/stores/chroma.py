"""Collections of Chroma."""

from __future__ import annotations

import weakref
from contextlib import closing
from pathlib import Path
from typing import Any

from nanov2t.core.errors import UserError
from nanov2t.core.files import digest
from nanov2t.stores.base import Fetched, Store, import_client
from nanov2t.stores.choosing import pick
from nanov2t.stores.sqlite import connect, copied


class ChromaStore(Store):
    """A collection of a folder of Chroma's; the ids are the collection's own.

    Its client writes to every folder that it opens, so it is given a copy.
    """

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
        connect(database).close()  # which looks whether it is whole
        settings = chromadb.Settings(anonymized_telemetry=False)
        client = chromadb.PersistentClient(self._copy.name, settings)
        weakref.finalize(self, client.close)
        name = pick(where, key, [collection.name for collection in client.list_collections()])
        self.collection = client.get_collection(name, embedding_function=None)
        count = self.collection.count()
        fingerprint = digest(count, self.collection.id, _last_change(database, self.collection.id))
        self.describe(f"chroma:{where}#{name}", "float32", count, fingerprint, integer_ids=False)

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
