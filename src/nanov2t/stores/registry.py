"""Stores by what users write, such as `x.parquet#COLUMN` or `chroma:PATH#COLLECTION`."""

from __future__ import annotations

import re
from collections.abc import Callable
from glob import has_magic
from os.path import exists
from pathlib import Path

from nanov2t.core.errors import UserError
from nanov2t.stores.base import Store, reading
from nanov2t.stores.choosing import Choice
from nanov2t.stores.chroma import ChromaStore
from nanov2t.stores.csv_files import CsvStore
from nanov2t.stores.delta import DeltaStore
from nanov2t.stores.faiss import FaissStore
from nanov2t.stores.feather import FeatherStore
from nanov2t.stores.hdf5 import Hdf5Store
from nanov2t.stores.json_files import JsonlStore, JsonStore
from nanov2t.stores.lancedb import LanceStore
from nanov2t.stores.magic import what_it_is
from nanov2t.stores.milvus import MilvusStore
from nanov2t.stores.numpy_files import NpyStore, NpzStore, RawStore
from nanov2t.stores.parquet import ParquetStore
from nanov2t.stores.postgres import PostgresStore
from nanov2t.stores.qdrant import QdrantStore
from nanov2t.stores.safetensors_files import SafetensorsStore
from nanov2t.stores.shards import ShardsStore
from nanov2t.stores.sqlite import SqliteStore
from nanov2t.stores.torch_files import TorchStore
from nanov2t.stores.word_files import WordStore
from nanov2t.stores.zarr_folders import ZarrStore

LOGIN = re.compile("//.*@")
"""Of a URL: a name and, perhaps, a password, which may hold any character."""

STORES: list[type[Store]] = [
    NpyStore,
    NpzStore,
    RawStore,
    TorchStore,
    SafetensorsStore,
    ParquetStore,
    FeatherStore,
    CsvStore,
    JsonlStore,
    JsonStore,
    WordStore,
    SqliteStore,
    Hdf5Store,
    ZarrStore,
    FaissStore,
    ChromaStore,
    LanceStore,
    DeltaStore,
    QdrantStore,
    MilvusStore,
    PostgresStore,
]
"""Every kind of store; a new one is a line here."""
LOGS = {
    "_delta_log": "a Delta table: read delta:{}",
    ".hoodie": "a Hudi table: save its rows as a Parquet file",
    "metadata/*.metadata.json": "an Iceberg table: save its rows as a Parquet file",
}
"""Logs of tables, by which some of the files beside them no longer count, and what to do."""


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
    if not spec:
        raise UserError("the source of vectors: its name is empty")
    scheme, colon, rest = spec.partition(":")
    database = next((store for store in STORES if colon and scheme in store.schemes), None)
    if database is not None:
        where, key = _divided(rest, exists)
        return _open(database, LOGIN.sub("//", spec), where, key, ids)
    path, key = _divided(spec, _there)
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


def _divided(spec: str, is_there: Callable[[str], bool]) -> tuple[str, str]:
    """A place and the key after its `#`. Both may hold a `#`: the longest place that is there
    counts, and for one that is not a path the first `#`."""
    places = [spec, *(spec[:i] for i in reversed(range(len(spec))) if spec[i] == "#")]
    place = next(filter(is_there, places), places[-1])
    return place, spec[len(place) + 1 :]


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
        return _whole(_matches(where))
    # What begins with _ or . are notes of whoever wrote the others.
    files = (path for path in folder.rglob("[!._]*") if path.is_file())
    kinds: dict[type[Store], list[Path]] = {}
    for path in sorted(files):
        if (store := _reader(path)) is not None:
            kinds.setdefault(store, []).append(path)
    for notes in (WordStore, JsonStore):
        if len(kinds) > 1:
            kinds.pop(notes, None)
    if len(kinds) > 1:
        suffixes = sorted({path.suffix for paths in kinds.values() for path in paths})
        raise UserError(f"{where}: holds {', '.join(suffixes)}: choose by {where}/*{suffixes[0]}")
    if not kinds:
        raise UserError(f"{where}: a folder without files of vectors")
    [paths] = kinds.values()
    return _whole(paths)


def _whole(paths: list[Path]) -> list[Path]:
    """The files of a folder or glob; refused if they are parts of a table with a log."""
    for folder in {parent.resolve() for path in paths for parent in path.parents}:
        for log, said in LOGS.items():
            if next(folder.glob(log), None):
                raise UserError(f"{folder}: {said.format(folder)}")
    return paths
