"""Opening stores by what users write, such as `x.parquet#COLUMN` or `chroma:PATH#COLLECTION`."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from glob import has_magic
from itertools import accumulate
from os.path import exists
from pathlib import Path
from typing import Any

from nanov2t.core.errors import UserError
from nanov2t.core.files import digest
from nanov2t.stores.arrays import (
    Hdf5Store,
    NpyStore,
    NpzStore,
    RawStore,
    SafetensorsStore,
    TorchStore,
    ZarrStore,
)
from nanov2t.stores.arrow import DeltaStore, FeatherStore, LanceStore, ParquetStore
from nanov2t.stores.base import Fetched, NoRows, Store, reading
from nanov2t.stores.choosing import Choice
from nanov2t.stores.databases import ChromaStore, MilvusStore, QdrantStore
from nanov2t.stores.faiss import FaissStore
from nanov2t.stores.json_files import JsonlStore, JsonStore
from nanov2t.stores.sql import PostgresStore, SqliteStore
from nanov2t.stores.text_files import CsvStore, WordStore, what_it_is

STORES: list[type[Store]] = [
    *(NpyStore, NpzStore, RawStore, TorchStore, SafetensorsStore),
    *(ParquetStore, FeatherStore, CsvStore, JsonlStore, JsonStore, WordStore, SqliteStore),
    *(Hdf5Store, ZarrStore, FaissStore),
    *(ChromaStore, LanceStore, DeltaStore, QdrantStore, MilvusStore, PostgresStore),
]
"""Every kind of store, in the order of the documentation."""
LOGIN = re.compile("//.*@")
"""The user and password of a URL."""
LOGS = {
    "_delta_log": "a Delta table: read delta:{}",
    ".hoodie": "a Hudi table: save its rows as a Parquet file",
    "metadata/*.metadata.json": "an Iceberg table: save its rows as a Parquet file",
}
"""Logs of tables, which say that some of the files beside them no longer count; and what to do."""


def open_source(spec: str, ids: str | None = None) -> Store:
    """Open a store of vectors.

    Args:
        spec: a file, or a folder or glob of files, with the column or key after a `#`; or the
            scheme, place and table or collection of a database, as in :func:`sources_table`.
        ids: the column of ids; by default the store's own ids, or row numbers.

    Raises:
        UserError: the store does not exist, its client is not installed, or it holds no vectors.
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
    """The names that may follow the `#` of a file; none if it leaves no choice or is unreadable."""
    try:
        open_source(f"{path}#\0")  # nothing has this name, so the error lists all names
    except Choice as choice:
        return choice.names
    except UserError:
        pass
    return []


def sources_table() -> str:
    """The forms, extras and ids of all stores: a table in Markdown."""
    forms: dict[tuple[str, str], list[str]] = {}
    for store in STORES:
        needs = f"`pip install '.[{store.extra}]'`" if store.extra else ""
        ids = f"`--ids COLUMN`, or {store.own_ids}" if store.takes_ids else store.own_ids
        forms.setdefault((needs, ids), []).extend(f"`{form}`" for form in store.forms)
    rows = ["| SOURCE | needs | ids |", "|---|---|---|"]
    for (needs, ids), alike in forms.items():
        rows.append(f"| {', '.join(alike)} | {needs} | {ids} |".replace("|  |", "| |"))
    return "\n".join(rows)


class ShardsStore(Store):
    """Files of one kind as one store, with consecutive row numbers.

    Args:
        name: what users wrote.
        paths: the files, in order.
        open_shard: opens one. Only one is open at a time, since processes may open only so many.
    """

    def __init__(self, name: str, paths: Sequence[Path], open_shard: Callable[[Path], Store]):
        self.paths: list[Path] = []
        self._open = open_shard
        shards: list[tuple[int, str, bool, str]] = []
        for path in paths:
            try:
                shard = open_shard(path)
            except NoRows:
                continue
            if shards and shard.dim != self.dim:
                raise UserError(
                    f"{path}: vectors of {shard.dim} dimensions, but {self.paths[0]} has {self.dim}"
                )
            self.paths.append(path)
            self.dim, self.ids, self._shard = shard.dim, shard.ids, (path, shard)
            shards.append((shard.count, shard.kind, shard.integer_ids, shard.fingerprint))
        if not shards:
            raise NoRows(name)
        counts, kinds, integers, fingerprints = zip(*shards, strict=True)
        self.ends = list(accumulate(counts))
        kind = ", ".join(sorted({*kinds}))
        self.describe(name, kind, self.ends[-1], digest(*fingerprints), all(integers))

    def fetch(self, start: int, stop: int) -> Fetched:
        ids: list[Any] = []
        vectors: list[Any] = []
        while start < stop:
            i = bisect_right(self.ends, start)
            if self._shard[0] != self.paths[i]:
                self._shard = self.paths[i], self._open(self.paths[i])
            shard = self._shard[1]
            offset, end = self.ends[i] - shard.count, min(stop, self.ends[i])
            found, values = shard.fetch(start - offset, end - offset)
            ids += range(start, start + len(values)) if isinstance(found, range) else found
            vectors += list(values)
            if len(values) < end - start:
                break  # read() says so
            start = end
        return ids, vectors


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
        raise UserError(f"{path}: {said + '; ' if said else ''}not one of {', '.join(known)}")
    return _open(store, f"{path}#{key}" if key else str(path), str(path), key, ids)


def _reader(path: Path) -> type[Store] | None:
    return next((store for store in STORES if path.suffix.lower() in store.suffixes), None)


def _divided(spec: str, is_there: Callable[[str], bool]) -> tuple[str, str]:
    """A place and the key after its `#`. Both may hold a `#`: the longest place that exists
    counts, and the first `#` if none does."""
    places = [spec, *(spec[:i] for i in reversed(range(len(spec))) if spec[i] == "#")]
    place = next(filter(is_there, places), places[-1])
    return place, spec[len(place) + 1 :]


def _there(path: str) -> bool:
    return Path(path).exists() or bool(_matches(path))


def _matches(pattern: str) -> list[Path]:
    if not has_magic(pattern):
        return []
    root = Path("/")
    found = root.glob(str(Path(pattern).absolute().relative_to(root)))
    return sorted(path for path in found if path.is_file())


def _shards(where: str) -> list[Path]:
    """The files of a glob, or the readable ones of a folder, in the order of their names."""
    folder, paths = Path(where), _matches(where)
    if folder.is_dir():
        kinds: dict[type[Store], list[Path]] = {}
        # Names that start with _ or . are notes of the program that wrote the others.
        for path in sorted(path for path in folder.rglob("[!._]*") if path.is_file()):
            if (store := _reader(path)) is not None:
                kinds.setdefault(store, []).append(path)
        for notes in (WordStore, JsonStore):
            if len(kinds) > 1:
                kinds.pop(notes, None)
        if len(kinds) > 1:
            suffixes = sorted({path.suffix for paths in kinds.values() for path in paths})
            raise UserError(
                f"{where}: holds {', '.join(suffixes)}: choose by {where}/*{suffixes[0]}"
            )
        if not kinds:
            raise UserError(f"{where}: a folder without files of vectors")
        [paths] = kinds.values()
    for folder in {parent.resolve() for path in paths for parent in path.parents}:
        for log, said in LOGS.items():
            if next(folder.glob(log), None):
                raise UserError(f"{folder}: {said.format(folder)}")
    return paths
