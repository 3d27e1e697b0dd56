"""Stores by what users write, such as `x.parquet#COLUMN` or `chroma:PATH#COLLECTION`."""

from __future__ import annotations

from pathlib import Path

from nanov2t.core.errors import UserError
from nanov2t.stores.base import Store, reading
from nanov2t.stores.chroma import ChromaStore
from nanov2t.stores.faiss import FaissStore
from nanov2t.stores.jsonl import JsonlStore
from nanov2t.stores.lancedb import LanceStore
from nanov2t.stores.npy import NpyStore
from nanov2t.stores.parquet import ParquetStore
from nanov2t.stores.postgres import PostgresStore
from nanov2t.stores.safetensors_files import SafetensorsStore

STORES: list[type[Store]] = [
    NpyStore,
    SafetensorsStore,
    ParquetStore,
    JsonlStore,
    FaissStore,
    ChromaStore,
    LanceStore,
    PostgresStore,
]
"""Every kind of store; a new one is a line here."""


def open_source(spec: str, ids: str | None = None) -> Store:
    """Open a store of vectors.

    Args:
        spec: a file, its column or key after a `#`; or the scheme, the place and the table or
            collection of a database. :func:`sources_table` lists the forms.
        ids: the column of the ids; by default the store's own ids, or the numbers of the rows.

    Raises:
        UserError: there is no such store, its client is not installed, or it holds no vectors.
    """
    scheme, colon, rest = spec.partition(":")
    database = next((store for store in STORES if colon and scheme in store.schemes), None)
    if database is not None:
        where, _, key = rest.rpartition("#") if "#" in rest else (rest, "", "")
        # What stands before the @ may be a password.
        return _open(database, spec.rpartition("@")[2], where, key, ids)
    path, key = Path(spec), ""
    if not path.is_file() and "#" in spec:
        before, _, key = spec.rpartition("#")
        path = Path(before)
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    for store in STORES:
        if path.suffix.lower() in store.suffixes:
            return _open(store, spec, str(path), key, ids)
    known = [suffix for store in STORES for suffix in store.suffixes]
    raise UserError(f"{path}: not one of {', '.join(known)}")


def sources_table() -> str:
    """The forms of all stores, their extras and ids: a table in Markdown."""
    forms: dict[tuple[str, str], list[str]] = {}
    for store in STORES:
        needs = f"`nanov2t[{store.extra}]`" if store.extra else ""
        ids = f"`--ids COLUMN`, or {store.own_ids}" if store.takes_ids else store.own_ids
        forms.setdefault((needs, ids), []).extend(f"`{form}`" for form in store.forms)
    rows = ["| SOURCE | needs | ids |", "|---|---|---|"]
    for (needs, ids), alike in forms.items():
        rows.append(f"| {', '.join(alike)} | {needs} | {ids} |".replace("|  |", "| |"))
    return "\n".join(rows)


def _open(store: type[Store], name: str, where: str, key: str, ids: str | None) -> Store:
    if ids and not store.takes_ids:
        raise UserError(f"{name}: has no columns to take ids from; its ids are {store.own_ids}")
    with reading(name):
        return store(where, key, ids)
