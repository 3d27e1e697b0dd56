"""Files of named arrays: NumPy, raw arrays of benchmarks, torch, safetensors, HDF5 and Zarr."""

import pickle
import re
import zipfile
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from nanov2t.core.errors import UserError
from nanov2t.core.files import digest
from nanov2t.core.imports import import_client
from nanov2t.stores.base import Fetched, NoRows, Store
from nanov2t.stores.values import pick

RAW = {".fbin": "<f4", ".ibin": "<i4", ".u8bin": "u1", ".i8bin": "i1"}

Arrays = Mapping[str, Any]
"""Arrays by name, with `shape`, `dtype` and slices of rows; a single one may have an empty name."""


class ArrayStore(Store):
    """An array [n, dim], or one vector [dim], or many vectors whose names are their ids."""

    forms: ClassVar[tuple[str, ...]] = (
        *("x.npy", "x.fbin", "x.ibin", "x.u8bin", "x.i8bin"),
        *("x.pt#KEY", "x.pth#KEY", "x.safetensors#KEY"),
    )
    own_ids = "the names of single vectors, or row numbers"

    def __init__(self, where: str, key: str, ids: str | None):
        self.path = Path(where)
        arrays = self.arrays()
        shapes = {name: tuple(array.shape) for name, array in arrays.items()}
        types = {n: getattr(array.dtype, "name", array.dtype) for n, array in arrays.items()}
        kinds = {n: str(kind).removeprefix("torch.") for n, kind in types.items()}
        numbers = [n for n, k in kinds.items() if re.match("b?float|u?int", k) and shapes[n]]
        tables = [n for n in numbers if len(shapes[n]) == 2]
        vectors = [n for n in numbers if len(shapes[n]) == 1 and "float" in kinds[n]]
        if key or tables or len({shapes[n] for n in vectors}) != 1:
            vectors = [pick(where, key, tables or numbers or shapes)]
        shape = shapes[vectors[0]]
        name = where if len(vectors) > 1 or not vectors[0] else f"{where}#{vectors[0]}"
        if 0 in shape:
            raise NoRows(name)
        if len(shape) not in (1, 2):
            raise UserError(f"{name}: an array of shape {shape}, not vectors [n, dim]")
        self.names, self.is_table = vectors, len(shape) == 2
        count = shape[0] if self.is_table else len(vectors)
        numbered = len(vectors) == 1 or vectors == [str(i) for i in range(count)]
        self.describe(name, kinds[vectors[0]], count, numbered)

    def arrays(self, names: Sequence[str] = ()) -> Arrays:
        """The file's arrays: at least these, or all. A mapped file is opened anew for each chunk,
        since what is read of it takes memory until it is closed."""
        return READERS.get(self.path.suffix.lower(), _raw)(self.path, names)

    def fetch(self, start: int, stop: int) -> Fetched:
        names = self.names if self.is_table else self.names[start:stop]
        arrays = self.arrays(names)
        if self.is_table:
            return range(start, stop), _numbers(arrays[names[0]][start:stop])
        ids = range(start, stop) if self.integer_ids else names
        return ids, [_numbers(arrays[name][:]) for name in names]


def _npy(path: Path, names: Sequence[str]) -> Arrays:
    size = path.stat().st_size
    if not size:
        raise ValueError("the file is empty")
    array = np.lib.format.open_memmap(path, mode="r")
    if array.offset + array.nbytes != size:
        raise ValueError("its size is not what its header says")
    return {"": array}


def _raw(path: Path, names: Sequence[str]) -> Arrays:
    rows, dim = (int(n) for n in np.fromfile(path, "<i4", 2))
    kind = np.dtype(RAW[path.suffix.lower()])
    if 8 + rows * dim * kind.itemsize != path.stat().st_size:
        raise ValueError(f"its size is not that of {rows} rows of {dim} {kind.name}")
    return {"": np.memmap(path, kind, "r", offset=8, shape=(rows, dim))}


def _torch(path: Path, names: Sequence[str]) -> Arrays:
    """Tensors, alone or in dicts and lists. Files that could run code are refused."""
    import torch

    mapped = zipfile.is_zipfile(path)  # files of old versions cannot be mapped
    try:
        return _tensors(torch.load(path, "cpu", weights_only=True, mmap=mapped), "")
    except pickle.UnpicklingError:
        said = "damaged, or a pickle of more than tensors, which may run code"
        raise UserError(f"{path}: {said}: save the tensor alone") from None


def _safetensors(path: Path, names: Sequence[str]) -> Arrays:
    """Tensors, read by torch since NumPy has no bfloat16."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in names or file.keys()}


READERS = {".npy": _npy, ".pt": _torch, ".pth": _torch, ".safetensors": _safetensors}


class NpzStore(ArrayStore):
    forms = ("x.npz#KEY",)
    _members: Arrays | None = None

    def arrays(self, names: Sequence[str] = ()) -> Arrays:
        if self._members is None:  # they stay open, so that each chunk goes on where one ended
            archive = zipfile.ZipFile(self.path)
            members = archive.namelist()
            self._members = {n.removesuffix(".npy"): _NpzArray(archive, n) for n in members}
        return self._members


class _NpzArray:
    """An array in an archive. Its rows are read as a stream, since it may be compressed."""

    def __init__(self, archive: zipfile.ZipFile, name: str):
        self._open, form = partial(archive.open, name), np.lib.format
        with self._open() as file:
            old = form.read_magic(file) == (1, 0)
            read = form.read_array_header_1_0 if old else form.read_array_header_2_0
            self.shape, self._by_column, self.dtype = read(file)
            self._start = file.tell()

    def _read(self) -> np.ndarray:
        with self._open() as file:
            return np.asarray(np.lib.format.read_array(file))

    _whole = cached_property(_read)
    _stream = cached_property(lambda self: self._open())

    def __getitem__(self, rows: slice) -> np.ndarray:
        if len(self.shape) == 1:
            return self._read()
        if self._by_column:  # a row is all over the file
            return self._whole[rows]
        size = self.shape[1] * self.dtype.itemsize
        self._stream.seek(self._start + rows.start * size)
        content = self._stream.read((rows.stop - rows.start) * size)
        return np.frombuffer(content, self.dtype).reshape(-1, self.shape[1])


class Hdf5Store(ArrayStore):
    """Data sets, also within groups."""

    forms = ("x.h5#KEY", "x.hdf5#KEY")
    extra = "hdf5"

    def arrays(self, names: Sequence[str] = ()) -> Arrays:
        file, found = import_client("h5py", self.extra).File(self.path, "r"), list(names)
        if not found:
            file.visit(found.append)
        return {n: file[n] for n in found if getattr(file[n], "shape", None)}


class ZarrStore(ArrayStore):
    """An array or a group of them, in a folder whose name ends with .zarr."""

    forms = ("x.zarr", "x.zarr#KEY")
    extra = "zarr"

    def arrays(self, names: Sequence[str] = ()) -> Arrays:
        found = import_client("zarr", self.extra).open(str(self.path), mode="r")
        if hasattr(found, "shape"):
            return {"": found}
        members = [(n, found[n]) for n in names] or found.members(max_depth=None)
        return {name: array for name, array in members if hasattr(array, "shape")}

    def contents(self) -> str:
        files = sorted(path for path in self.path.rglob("*") if path.is_file())
        facts = [(path.relative_to(self.path), path.stat()) for path in files]
        return digest(*((path, stat.st_size, stat.st_mtime_ns) for path, stat in facts))


def _numbers(rows: Any) -> np.ndarray:
    return np.array(rows.float() if hasattr(rows, "float") else rows)


def _tensors(value: Any, name: str) -> dict[str, Any]:
    """The tensors in nested dicts and lists, by names such as `data.embeddings`."""
    if hasattr(value, "detach"):
        return {name: value.detach()}
    if isinstance(value, list | tuple):
        value = dict(enumerate(value))
    found: dict[str, Any] = {}
    for key, inner in value.items() if isinstance(value, dict) else ():
        found |= _tensors(inner, f"{name}.{key}" if name else str(key))
    return found
