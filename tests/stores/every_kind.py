"""Every kind of store, written with the tool that people write it with: the databases."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import pyarrow as pa
from binaries import BINARIES
from databases import DATABASES
from kinds import (
    FaissFlat,
    FaissGraph,
    FaissLists,
    Folder,
    Jsonl,
    Kind,
    Npy,
    NpyByColumn,
    ParquetFixed,
    ParquetLists,
    Safetensors,
    cut_file,
)
from tables import TABLES


class Chroma(Folder):
    client, ids, own_ids = "chromadb", "document", "name"
    holds, named = ("zero",), ("vectors",)

    def write(self, place, rows, names):
        collection = self._client(place / "chroma").create_collection(
            "vectors", embedding_function=None
        )
        collection.add(ids=names, embeddings=rows, documents=names)
        return f"chroma:{place / 'chroma'}#vectors"

    def change(self, source, row, name, rows, names):
        folder = source.partition(":")[2].partition("#")[0]
        collection = self._client(folder).get_collection("vectors", embedding_function=None)
        collection.update(ids=[name], embeddings=[rows[row]])

    def move(self, source):
        self._forget()
        return super().move(source)

    def cut(self, source, share):
        self._forget()
        folder = source.partition(":")[2].partition("#")[0]
        cut_file(Path(folder) / "chroma.sqlite3", share)

    def _client(self, folder):
        import chromadb

        return chromadb.PersistentClient(str(folder), chromadb.Settings(anonymized_telemetry=False))

    def _forget(self):
        """Close what the client holds open of all folders, as the end of a process would."""
        from chromadb.api.client import SharedSystemClient

        SharedSystemClient.clear_system_cache()


class Lance(Folder):
    client, ids, holds, named = "lancedb", "name", ("zero", "missing"), ("vector",)

    def write(self, place, rows, names):
        import lancedb

        column = pa.array(rows, pa.list_(pa.float32(), len(rows[0])))
        data = pa.table({"name": names, "vector": column})
        half = len(rows) // 2
        folder = place / "lance"
        table = lancedb.connect(folder).create_table(
            "texts", data.slice(0, half), on_bad_vectors="null"
        )
        table.add(data.slice(half), on_bad_vectors="null")
        return f"lancedb:{folder}#texts"

    def change(self, source, row, name, rows, names):
        import lancedb

        folder = source.partition(":")[2].partition("#")[0]
        table = lancedb.connect(folder).open_table("texts")
        table.update(where=f"name = '{name}'", values={"vector": rows[row]})

    def cut(self, source, share):
        folder = Path(source.partition(":")[2].partition("#")[0])
        for path in folder.rglob("data/*.lance"):
            cut_file(path, share)

    def wrong_column(self, source):
        return f"{source}.none"


class Postgres(Kind):
    """A column of pgvector's; the SOURCE is `postgresql://...#TABLE.COLUMN`."""

    client, ids, holds, named = "psycopg", "name", ("zero", "missing"), ("embedding",)
    column = "vector"
    tables = 0

    def write(self, place, rows, names):
        import psycopg

        Postgres.tables += 1
        table = f"texts{Postgres.tables}"
        with psycopg.connect(place, autocommit=True) as db:
            db.execute("CREATE EXTENSION IF NOT EXISTS vector")
            db.execute(f"CREATE TABLE {table} (name text, embedding {self.column})")
            with db.cursor().copy(f"COPY {table} FROM STDIN") as copy:
                for name, row in zip(names, rows, strict=True):
                    copy.write_row((name, row if row is None else self.text(row)))
        return f"{place}#{table}.embedding"

    def change(self, source, row, name, rows, names):
        table = self._table(source)
        self._run(source, f"UPDATE {table} SET embedding = '{self.text(rows[row])}'", name)

    def move(self, source):
        gc.collect()  # a store that is still open keeps its table from being renamed
        table = self._table(source)
        self._run(source, f"ALTER TABLE {table} RENAME TO {table}_moved")
        return f"{source.partition('#')[0]}#{table}_moved.embedding"

    def cut(self, source, share):
        raise NotImplementedError("its server keeps the files")

    def wrong_column(self, source):
        return f"{source.partition('#')[0]}#{self._table(source)}.none"

    def text(self, row: list[Any]) -> str:
        return str(row)

    def _table(self, source: str) -> str:
        return source.partition("#")[2].partition(".")[0]

    def _run(self, source: str, command: str, name: str = "") -> None:
        import psycopg

        where = f" WHERE name = '{name}'" if name else ""
        with psycopg.connect(source.partition("#")[0], autocommit=True) as db:
            db.execute(command + where)


class PostgresArrays(Postgres):
    holds, column = ("nan", "zero", "missing", "length"), "real[]"

    def text(self, row):
        return "{" + ", ".join(map(str, row)) + "}"


KINDS: list[Kind] = [
    *TABLES,
    *BINARIES,
    *DATABASES,
    Npy(),
    NpyByColumn(),
    Safetensors(),
    ParquetLists(),
    ParquetFixed(),
    Jsonl(),
    FaissFlat(),
    FaissLists(),
    FaissGraph(),
    Chroma(),
    Lance(),
    Postgres(),
    PostgresArrays(),
]
