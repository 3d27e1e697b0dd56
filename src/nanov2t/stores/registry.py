"""Sources by their spec strings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from nanov2t.core.errors import UserError
from nanov2t.stores.base import (
    Source,
    reading,
)
from nanov2t.stores.chroma import chroma
from nanov2t.stores.faiss import faiss_index
from nanov2t.stores.jsonl import read_jsonl
from nanov2t.stores.lancedb import lancedb
from nanov2t.stores.numpy_files import read_npy, read_npz
from nanov2t.stores.parquet import read_parquet
from nanov2t.stores.postgres import postgres
from nanov2t.stores.safetensors_files import read_safetensors


def open_file(spec: str, ids: str | None) -> Source:
    """Open a file, its column or key after a `#`."""
    path, key = Path(spec), ""
    if not path.is_file() and "#" in spec:
        path, key = Path(spec.rpartition("#")[0]), spec.rpartition("#")[2]
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise UserError(f"{path}: not one of {', '.join(READERS)}")
    if ids and reader not in (read_parquet, read_jsonl):
        raise UserError(f"{path}: has no columns to take ids from")
    return reader(path, key, ids)


def open_source(spec: str, ids: str | None = None) -> Source:
    """Open a source.

    Args:
        spec: a .npy, .npz, .parquet, .jsonl or .safetensors file, its column or key after a `#`; a
            .faiss or .index file; `chroma:PATH#COLLECTION`; `lancedb:PATH#TABLE`; or
            `postgresql://...#TABLE.COLUMN`.
        ids: the column of the ids; by default the store's own ids, or the numbers of the rows.

    Raises:
        UserError: there is no such source, its client is not installed, or it holds no vectors.
    """
    scheme = spec.partition(":")[0]
    if scheme in STORES:
        return replace(STORES[scheme](spec, ids), ids=ids)
    with reading(spec):
        return replace(open_file(spec, ids), ids=ids)


def _guarded(store: Callable[[str, str | None], Source]) -> Callable[[str, str | None], Source]:
    def guarded(spec: str, ids: str | None) -> Source:
        # What stands before the @ may be a password.
        with reading(spec.rpartition("@")[2]):
            return store(spec, ids)

    return guarded


STORES = {
    name: _guarded(store)
    for name, store in (
        ("chroma", chroma),
        ("lancedb", lancedb),
        ("postgresql", postgres),
        ("postgres", postgres),
    )
}
"""Readers of stores by the scheme of their specs."""


READERS: dict[str, Callable[[Path, str, str | None], Source]] = {
    ".npy": read_npy,
    ".npz": read_npz,
    ".parquet": read_parquet,
    ".jsonl": read_jsonl,
    ".safetensors": read_safetensors,
    ".faiss": faiss_index,
    ".index": faiss_index,
}
