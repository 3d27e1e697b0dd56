"""Stores by what users write, such as `x.parquet#COLUMN` or `chroma:PATH#COLLECTION`."""

from __future__ import annotations

from glob import has_magic
from pathlib import Path

from nanov2t.core.errors import UserError
from nanov2t.stores.base import Choice, Store, reading
from nanov2t.stores.chroma import ChromaStore
from nanov2t.stores.csv_files import CsvStore
from nanov2t.stores.faiss import FaissStore
from nanov2t.stores.feather import FeatherStore
from nanov2t.stores.hdf5 import Hdf5Store
from nanov2t.stores.json_files import JsonlStore, JsonStore
from nanov2t.stores.lancedb import LanceStore
from nanov2t.stores.magic import what_it_is
from nanov2t.stores.milvus import MilvusStore
from nanov2t.stores.npy import NpyStore
from nanov2t.stores.npz import NpzStore
from nanov2t.stores.orc import OrcStore
from nanov2t.stores.parquet import ParquetStore
from nanov2t.stores.postgres import PostgresStore
from nanov2t.stores.qdrant import QdrantStore
from nanov2t.stores.safetensors_files import SafetensorsStore
from nanov2t.stores.shards import ShardsStore
from nanov2t.stores.sqlite import SqliteStore
from nanov2t.stores.torch_files import TorchStore
from nanov2t.stores.zarr_folders import ZarrStore

STORES: list[type[Store]] = [
    NpyStore,
    NpzStore,
    TorchStore,
    SafetensorsStore,
    ParquetStore,
    FeatherStore,
    OrcStore,
    CsvStore,
    JsonlStore,
    JsonStore,
    SqliteStore,
    Hdf5Store,
    ZarrStore,
    FaissStore,
    ChromaStore,
    LanceStore,
    QdrantStore,
    MilvusStore,
    PostgresStore,
]
"""Every kind of store; a new one is a line here."""


def open_source(spec: str, ids: str | None = None) -> Store:
    """Open a store of vectors.

    Args:
        spec: a file, or a folder or glob of files, the column or key after a `#`; or the scheme,
            the place and the table or collection of a database. :func:`sources_table` lists the
            forms.
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
    path, key = spec, ""
    if not _there(path) and "#" in spec:
        path, _, key = spec.rpartition("#")
    if not _there(path):
        raise UserError(f"{path}: no such file")
    if Path(path).is_file() or _reader(Path(path)) is ZarrStore:
        return _open_file(Path(path), key, ids)
    with reading(path):
        return ShardsStore(path, _shards(path), lambda shard: _open_file(shard, key, ids))


def names_in(path: Path) -> list[str]:
    """What may stand after the `#` of a file; none where the file leaves no choice, or cannot be
    read."""
    try:
        open_source(f"{path}#\0")  # nothing is called that, so the answer lists what there is
    except Choice as choice:
        return choice.names
    except UserError:
        pass
    return []


def sources_table() -> str:
    """The forms of all stores, their extras and ids: a table in Markdown."""
    forms: dict[tuple[str, str], list[str]] = {}
    for store in STORES:
        needs = f"`pip install '.[{store.extra}]'`" if store.extra else ""
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


def _open_file(path: Path, key: str, ids: str | None) -> Store:
    store = _reader(path)
    if store is None:
        known = [suffix for store in STORES for suffix in store.suffixes]
        said = what_it_is(path)
        raise UserError(f"{path}: {said + ', ' if said else ''}not one of {', '.join(known)}")
    return _open(store, f"{path}#{key}" if key else str(path), str(path), key, ids)


def _reader(path: Path) -> type[Store] | None:
    return next((store for store in STORES if path.suffix.lower() in store.suffixes), None)


def _there(path: str) -> bool:
    return Path(path).exists() or bool(_matches(path))


def _matches(pattern: str) -> list[Path]:
    """The files of a glob, in the order of their names."""
    if not has_magic(pattern):
        return []
    root = Path("/")
    found = root.glob(str(Path(pattern).absolute().relative_to(root)))
    return sorted(path for path in found if path.is_file())


def _shards(where: str) -> list[Path]:
    """The files of a glob, or those of a folder that can be read, in the order of their names.

    Raises:
        UserError: there are none, or a folder's are of several kinds.
    """
    folder = Path(where)
    if not folder.is_dir():
        return _matches(where)
    # What begins with _ or . are notes of whoever wrote the others.
    files = (path for path in folder.rglob("[!._]*") if path.is_file())
    kinds: dict[type[Store], list[Path]] = {}
    for path in sorted(files):
        if (store := _reader(path)) is not None:
            kinds.setdefault(store, []).append(path)
    if len(kinds) > 1:
        kinds.pop(JsonStore, None)  # notes as well
    if len(kinds) > 1:
        suffixes = sorted({path.suffix for paths in kinds.values() for path in paths})
        raise UserError(f"{where}: holds {', '.join(suffixes)}: choose by {where}/*{suffixes[0]}")
    if not kinds:
        raise UserError(f"{where}: a folder without files of vectors")
    [paths] = kinds.values()
    return paths
