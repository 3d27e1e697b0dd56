"""Vector stores as sources, each through its own client, which comes with an extra: `pip install 'nanov2t[chroma]'`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import numpy as np

from nanov2t.config import UserError
from nanov2t.sources import (
    Fetch,
    Source,
    arrow_columns,
    arrow_rows,
    digest,
    file_fingerprint,
    forward,
    make,
    reading,
)

PROBE = """
import resource, sys
from pathlib import Path
from nanov2t.stores import read_faiss
limit = 8 * Path(sys.argv[1]).stat().st_size + 2**33
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
count, _, fetch = read_faiss(sys.argv[1])
fetch(0, min(count, 1024)), fetch(max(0, count - 1024), count)
"""


def faiss_index(path: Path, key: str, ids: str | None) -> Source:
    """A FAISS index file; its vectors are reconstructed, so those of a quantised index are approximate."""
    if key:
        raise UserError(f"{path}: an index has no {key}")
    _client("faiss", "faiss")
    # A damaged file may take the process down with FAISS, or all memory, so another process tries first.
    tried = subprocess.run([sys.executable, "-c", PROBE, path], capture_output=True, text=True)
    if tried.returncode:
        said = tried.stderr.strip().splitlines() if tried.returncode == 1 else []
        raise ValueError(said[-1] if said else "FAISS crashes on it")
    count, kind, fetch = read_faiss(str(path))
    return make(str(path), kind, count, file_fingerprint(path), fetch)


def read_faiss(path: str) -> tuple[int, str, Fetch]:
    """Count, kind and reader of an index file.

    Raises:
        UserError: vectors of this kind of index cannot be reconstructed.
    """
    faiss = _client("faiss", "faiss")
    # Lists are mapped, the rest is in memory. IO_FLAG_MMAP_IFC would map all, but takes a file cut short for whole.
    owner = faiss.read_index(path, faiss.IO_FLAG_MMAP)
    index = faiss.downcast_index(owner)
    kind, ids = type(index).__name__, None
    if isinstance(index, faiss.IndexIDMap):
        ids, index = faiss.vector_to_array(index.id_map), faiss.downcast_index(index.index)
    if isinstance(index, faiss.IndexIVF):
        lists = [(index.invlists.get_ids(i), index.invlists.list_size(i)) for i in range(index.nlist)]
        inner = np.sort(np.concatenate([faiss.rev_swig_ptr(start, n).copy() for start, n in lists if n]))
        index.set_direct_map_type(faiss.DirectMap.Hashtable)
        ids = inner if ids is None else ids[inner]
    elif index.ntotal:
        inner = None
        index.reconstruct(0)  # raises what reconstruct_n, being parallel, would end the process with

    def fetch(start: int, stop: int, _owner=owner) -> tuple:  # what `index` points to lives as long as its owner
        vectors = index.reconstruct_n(start, stop - start) if inner is None else index.reconstruct_batch(
            inner[start:stop])
        return range(start, stop) if ids is None else ids[start:stop].tolist(), vectors

    return index.ntotal, f"float32 ({kind})", fetch


def chroma(spec: str, ids: str | None) -> Source:
    """`chroma:PATH#COLLECTION`; the ids are the collection's own."""
    path, name = _parts(spec)
    if ids:
        raise UserError(f"{spec}: has ids of its own")
    client = _client("chromadb", "chroma")
    if not (Path(path) / "chroma.sqlite3").is_file():
        raise UserError(f"{path}: not a Chroma folder")
    settings = client.Settings(anonymized_telemetry=False)
    collection = client.PersistentClient(path, settings).get_collection(name, embedding_function=None)

    def fetch(start: int, stop: int) -> tuple:
        rows = collection.get(limit=stop - start, offset=start, include=["embeddings"])
        return rows["ids"], rows["embeddings"]

    count = collection.count()
    return make(spec, "float32", count, _ends(fetch, count, collection.id), fetch, integer_ids=False)


def lancedb(spec: str, ids: str | None) -> Source:
    """`lancedb:PATH#TABLE`, or `#TABLE.COLUMN` where several columns hold vectors."""
    path, name = _parts(spec)
    client = _client("lancedb", "lancedb")
    if not Path(path).is_dir():
        raise UserError(f"{path}: no such folder")
    name, _, key = name.partition(".")
    table = client.connect(path).open_table(name)
    table.checkout(table.version)  # what others write while the run goes on stays out of it
    column, kind, integer_ids = arrow_columns(spec, table.schema, key, ids)

    def fetch(start: int, stop: int) -> tuple:
        query = table.search().select([column, *([ids] if ids else [])]).offset(start).limit(stop - start)
        rows = [row for batch in query.to_arrow().to_batches() for row in arrow_rows(batch, column, ids, start)]
        return [id_ if ids else start + i for i, (id_, _) in enumerate(rows)], [vector for _, vector in rows]

    count = table.count_rows()
    return make(spec, kind, count, _ends(fetch, count, table.version), fetch, integer_ids)


def postgres(spec: str, ids: str | None) -> Source:
    """`postgresql://...#TABLE.COLUMN`, or `#SCHEMA.TABLE.COLUMN`: a column of pgvector's, or of arrays of floats.

    Rows come in the order in which the table holds them, out of one snapshot, so that what others write while the run
    goes on stays out of it.
    """
    url, place = _parts(spec)
    psycopg = _client("psycopg", "postgres")
    sql = _client("psycopg.sql", "postgres")
    if "." not in place:
        raise UserError(f"{place}: not TABLE.COLUMN")
    table_name, column = place.rsplit(".", 1)
    connection = psycopg.connect(url)
    connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    connection.read_only = True
    # Else a sequential scan may start where another one is.
    connection.execute("SET synchronize_seqscans = off")
    table = sql.Identifier(*table_name.split("."))
    types = dict(connection.execute(
        "SELECT attname, format_type(atttypid, NULL) FROM pg_attribute "
        "WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped", [table.as_string(connection)]).fetchall())
    for wanted in (column, ids):
        if wanted and wanted not in types:
            raise UserError(f"{table_name}: no column {wanted}, only {', '.join(types)}")
    # Every row written since, be it new or changed, has a newer transaction number; those deleted miss from the count.
    facts = connection.execute(sql.SQL(
        "SELECT count(*), max(xmin::text::bigint), {name}::regclass::oid FROM {table}").format(
            name=sql.Literal(table.as_string(connection)), table=table)).fetchone()
    query = sql.SQL("SELECT {ids}, {column}::real[] FROM {table}").format(
        ids=sql.Identifier(ids) if ids else sql.SQL("NULL"), column=sql.Identifier(column), table=table)

    def rows() -> Iterator[tuple]:
        with connection.cursor("nanov2t", binary=True) as cursor:
            cursor.itersize = 1024
            for i, (id_, vector) in enumerate(cursor.execute(query)):
                yield id_ if ids else i, vector

    kinds = {"vector": "float32", "halfvec": "float16", "real[]": "float32", "double precision[]": "float64"}
    integer_ids = not ids or types[ids] in ("smallint", "integer", "bigint")
    name = f"postgresql://{connection.info.host}/{connection.info.dbname}#{place}"  # without the password
    return make(name, kinds.get(types[column]) or types[column], facts[0], digest(*facts), forward(rows),
                integer_ids)


def _guarded(store: Callable[[str, str | None], Source]) -> Callable[[str, str | None], Source]:
    def guarded(spec: str, ids: str | None) -> Source:
        # What stands before the @ may be a password.
        with reading(spec.rpartition("@")[2]):
            return store(spec, ids)

    return guarded


STORES = {name: _guarded(store) for name, store in (
    ("chroma", chroma), ("lancedb", lancedb), ("postgresql", postgres), ("postgres", postgres))}
"""Readers of stores by the scheme of their specs."""


def _client(module: str, extra: str):
    """The client of a store.

    Raises:
        UserError: it is not installed.
    """
    try:
        return import_module(module)
    except ImportError:
        raise UserError(f"{module} is not installed: pip install 'nanov2t[{extra}]'") from None


def _parts(spec: str) -> tuple[str, str]:
    """What stands before the # and after it; a path without its scheme."""
    where, _, name = spec.rpartition("#")
    if not name or not where:
        raise UserError(f"{spec}: say which table or collection after a #")
    scheme, _, path = where.partition(":")
    return where if scheme.startswith("postgres") else path, name


def _ends(fetch: Fetch, count: int, *facts) -> str:
    """A fingerprint from the first and the last rows."""
    first, last = fetch(0, min(count, 256)), fetch(max(0, count - 256), count)
    return digest(count, *facts, *(np.asarray(part).tobytes() for part in (*first, *last)))
