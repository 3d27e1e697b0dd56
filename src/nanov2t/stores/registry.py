"""Opening stores by what users write, such as `x.parquet#COLUMN` or `chroma:PATH#COLLECTION`."""

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
from nanov2t.stores import arrays, arrow, databases, faiss, sql, text_files
from nanov2t.stores.base import Fetched, NoRows, Store, reading
from nanov2t.stores.values import Choice

STORES: list[type[Store]] = [
    *(arrays.ArrayStore, arrays.NpzStore, arrow.ParquetStore, arrow.FeatherStore, arrow.CsvStore),
    *(text_files.JsonlStore, text_files.JsonStore, text_files.WordStore, sql.SqliteStore),
    *(arrays.Hdf5Store, arrays.ZarrStore, faiss.FaissStore, databases.ChromaStore),
    *(arrow.LanceStore, arrow.DeltaStore, databases.QdrantStore, databases.MilvusStore),
    sql.PostgresStore,
]  # in the order of the documentation
LOGS = {
    "_delta_log": "a Delta table: read delta:{}",
    ".hoodie": "a Hudi table: save its rows as a Parquet file",
    "metadata/*.metadata.json": "an Iceberg table: save its rows as a Parquet file",
}  # logs of tables, which alone say which of the files beside them still count


def open_source(spec: str, ids: str | None = None) -> Store:
    """Open a store of vectors. A UserError if it cannot be read.

    The spec is a file, or a folder or glob of files, with the column or key after a `#`; or the
    scheme, place and table or collection of a database, as in docs/stores.md.
    """
    if not spec:
        raise UserError("the source of vectors: its name is empty")
    scheme, colon, rest = spec.partition(":")
    if colon and (database := _kind(scheme)):
        shown = re.sub("//.*@", "//", spec)  # without user and password
        return _open(database, shown, *_divided(rest, exists), ids)
    path, key = _divided(spec, _there)
    if not _there(path):
        raise UserError(f"{path}: no such file")
    if Path(path).is_file() or _kind(Path(path).suffix.lower()) is arrays.ZarrStore:
        return _open_file(Path(path), key, ids)
    with reading(path):
        return ShardsStore(path, _shards(path), lambda shard: _open_file(shard, key, ids))


def files_of(spec: str) -> list[Path]:
    """The files behind a source, in order; none if it is on a server."""
    scheme, _, rest = spec.partition(":")
    database = bool(_kind(scheme))
    if database and "://" in spec:
        return []
    place, _ = _divided(rest, exists) if database else _divided(spec, _there)
    if Path(place).is_dir():
        return sorted(path for path in Path(place).rglob("*") if path.is_file())
    logs = [Path(f"{place}{end}") for end in ("", "-wal", "-journal")]  # SQLite's
    return [path for path in logs if path.is_file()] or _matches(place)


def names_in(path: Path) -> list[str]:
    """The names that may follow the `#` of a file; none if it leaves no choice or is unreadable."""
    try:
        open_source(f"{path}#\0")  # nothing has this name, so the error lists all names
    except UserError as error:
        return error.names if isinstance(error, Choice) else []
    return []


class ShardsStore(Store):
    """Files of one kind as one store. Only one is open at a time."""

    def __init__(self, name: str, paths: Sequence[Path], open_shard: Callable[[Path], Store]):
        self._open, self._paths = open_shard, list[Path]()
        facts: list[tuple[int, str, bool, str]] = []
        for path in paths:
            try:
                shard = open_shard(path)
            except NoRows:
                continue
            if facts and shard.dim != self.dim:
                first = f"{self._paths[0]} has {self.dim}"
                raise UserError(f"{path}: vectors of {shard.dim} dimensions, but {first}")
            self._paths.append(path)
            self.dim, self.ids, self._shard = shard.dim, shard.ids, (path, shard)
            facts.append((shard.count, shard.kind, shard.integer_ids, shard.fingerprint))
        if not facts:
            raise NoRows(name)
        counts, kinds, integers, fingerprints = zip(*facts, strict=True)
        self._ends = list(accumulate(counts))
        kind = ", ".join(sorted({*kinds}))
        self.describe(name, kind, self._ends[-1], all(integers), digest(*fingerprints))

    def fetch(self, start: int, stop: int) -> Fetched:
        ids, vectors = list[Any](), list[Any]()
        while start < stop:
            i = bisect_right(self._ends, start)
            if self._shard[0] != self._paths[i]:
                self._shard = self._paths[i], self._open(self._paths[i])
            shard, end = self._shard[1], min(stop, self._ends[i])
            offset = self._ends[i] - shard.count
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
    store = _kind(path.suffix.lower())
    if store is None:
        known = [mark for store in STORES for mark in _marks(store) if mark.startswith(".")]
        said = text_files.what_it_is(path)
        raise UserError(f"{path}: {said + '; ' if said else ''}not one of {', '.join(known)}")
    return _open(store, f"{path}#{key}" if key else str(path), str(path), key, ids)


def _kind(mark: str) -> type[Store] | None:
    """The kind of store with a suffix or scheme."""
    return next((store for store in STORES if mark in _marks(store)), None)


def _marks(store: type[Store]) -> list[str]:
    """The suffixes of the files and the schemes of the databases that a kind of store reads."""
    marks = (re.split("[#:]", form)[0] for form in store.forms)
    return list(dict.fromkeys(mark.removeprefix("x") for mark in marks))


def _divided(spec: str, is_there: Callable[[str], bool]) -> tuple[str, str]:
    """A place and the key after its `#`. Both may hold a `#`: the longest place that exists
    counts, and the first `#` if none does."""
    places = [spec, *(spec[:i] for i in reversed(range(len(spec))) if spec[i] == "#")]
    place = next(filter(is_there, places), places[-1])
    return place, spec[len(place) + 1 :]


def _there(path: str) -> bool:
    return Path(path).exists() or bool(_matches(path))


def _matches(pattern: str) -> list[Path]:
    path = Path(pattern).absolute()
    found = Path("/").glob(str(path)[1:]) if has_magic(pattern) else ()
    return sorted(path for path in found if path.is_file())


def _shards(where: str) -> list[Path]:
    """The files of a glob, or the readable ones of a folder, in the order of their names."""
    folder, paths = Path(where), _matches(where)
    if folder.is_dir():
        kinds: dict[type[Store], list[Path]] = {}
        # Names that start with _ or . are notes of the program that wrote the other files.
        for path in sorted(path for path in folder.rglob("[!._]*") if path.is_file()):
            if store := _kind(path.suffix.lower()):
                kinds.setdefault(store, []).append(path)
        for notes in (text_files.WordStore, text_files.JsonStore):
            if len(kinds) > 1:
                kinds.pop(notes, None)
        if not kinds:
            raise UserError(f"{where}: a folder without files of vectors")
        paths, *others = kinds.values()
        if others:
            held = sorted({path.suffix for paths in kinds.values() for path in paths})
            raise UserError(f"{where}: holds {', '.join(held)}: choose by {where}/*{held[0]}")
    for folder in {parent.resolve() for path in paths for parent in path.parents}:
        for log, said in LOGS.items():
            if next(folder.glob(log), None):
                raise UserError(f"{folder}: {said.format(folder)}")
    return paths
