"""Files of named arrays: NumPy, raw arrays of benchmarks, torch, safetensors, HDF5 and Zarr."""

from __future__ import annotations

import pickle
import zipfile
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from nanov2t.core.errors import UserError
from nanov2t.core.files import digest, file_fingerprint
from nanov2t.core.imports import import_client
from nanov2t.stores.base import Fetched, NoRows, Store
from nanov2t.stores.choosing import pick

NUMBERS = ("float", "bfloat", "int", "uint")
RAW = {".fbin": "<f4", ".ibin": "<i4", ".u8bin": "u1", ".i8bin": "i1"}

Arrays = Mapping[str, Any]
"""Arrays by name, with `shape`, `dtype` and slices of rows; a single one may have an empty name."""


class ArrayStore(Store):
    """An array [n, dim], or one vector [dim], or many vectors whose names are their ids."""

    own_ids = "the names of single vectors, or row numbers"

    def __init__(self, where: str, key: str, ids: str | None):
        self.path = Path(where)
        with self.arrays() as arrays:
            shapes = {name: tuple(array.shape) for name, array in arrays.items()}
            kinds = {name: _kind(array) for name, array in arrays.items()}
        numbers = [n for n, kind in kinds.items() if kind.startswith(NUMBERS) and shapes[n]]
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
        self.describe(name, kinds[vectors[0]], count, self.fingerprint_of_files(), numbered)

    @abstractmethod
    def arrays(self, names: Sequence[str] = ()) -> AbstractContextManager[Arrays]:
        """The file's arrays: at least these, or all. Opened anew for each chunk, since what was
        read of a mapped file counts as memory until it is closed."""

    def fetch(self, start: int, stop: int) -> Fetched:
        names = self.names if self.is_table else self.names[start:stop]
        with self.arrays(names) as arrays:
            if self.is_table:
                return range(start, stop), _numbers(arrays[names[0]][start:stop])
            vectors = [_numbers(arrays[name][:]) for name in names]
        return range(start, stop) if self.integer_ids else names, vectors

    def fingerprint_of_files(self) -> str:
        return file_fingerprint(self.path)


class NpyStore(ArrayStore):
    suffixes = (".npy",)
    forms = ("x.npy",)
    own_ids = "row numbers"

    @contextmanager
    def arrays(self, names: Sequence[str] = ()) -> Iterator[Arrays]:
        if not self.path.stat().st_size:
            raise ValueError("the file is empty")
        array = np.lib.format.open_memmap(self.path, mode="r")
        if array.offset + array.nbytes != self.path.stat().st_size:
            raise ValueError("its size is not what its header says")
        yield {"": array}


class RawStore(ArrayStore):
    """An array after two int32: its numbers of rows and dimensions."""

    suffixes = tuple(RAW)
    forms = ("x.fbin",)
    own_ids = "row numbers"

    @contextmanager
    def arrays(self, names: Sequence[str] = ()) -> Iterator[Arrays]:
        rows, dim = (int(n) for n in np.fromfile(self.path, "<i4", 2))
        kind = np.dtype(RAW[self.path.suffix.lower()])
        if 8 + rows * dim * kind.itemsize != self.path.stat().st_size:
            raise ValueError(f"its size is not that of {rows} rows of {dim} {kind.name}")
        yield {"": np.memmap(self.path, kind, "r", offset=8, shape=(rows, dim))}


class NpzStore(ArrayStore):
    suffixes = (".npz",)
    forms = ("x.npz#KEY",)
    _members: Arrays | None = None

    @contextmanager
    def arrays(self, names: Sequence[str] = ()) -> Iterator[Arrays]:
        if self._members is None:  # they stay open, so that each chunk goes on where one ended
            archive = zipfile.ZipFile(self.path)
            members = archive.namelist()
            self._members = {n.removesuffix(".npy"): _NpzArray(archive, n) for n in members}
        yield self._members


class _NpzArray:
    """An array in an archive. Its rows are read as a stream, since it may be compressed."""

    _file: IO[bytes] | None = None
    _whole: np.ndarray | None = None

    def __init__(self, archive: zipfile.ZipFile, name: str):
        self._archive, self._name = archive, name
        with archive.open(name) as file:
            self.shape, self._by_column, self.dtype = _read_header(file)

    def __getitem__(self, rows: slice) -> np.ndarray:
        if len(self.shape) == 1:
            return self._read_whole()
        if self._by_column:  # a row is all over the file
            self._whole = self._read_whole() if self._whole is None else self._whole
            return self._whole[rows]
        if self._file is None:
            self._file = self._archive.open(self._name)
            _read_header(self._file)
            self._start = self._file.tell()
        size = self.shape[1] * self.dtype.itemsize
        self._file.seek(self._start + rows.start * size)
        content = self._file.read((rows.stop - rows.start) * size)
        return np.frombuffer(content, self.dtype).reshape(-1, self.shape[1])

    def _read_whole(self) -> np.ndarray:
        with self._archive.open(self._name) as file:
            return np.lib.format.read_array(file)


class TorchStore(ArrayStore):
    """Tensors, alone or in dicts and lists. Files that could run code are refused."""

    suffixes = (".pt", ".pth")
    forms = ("x.pt#KEY",)

    @contextmanager
    def arrays(self, names: Sequence[str] = ()) -> Iterator[Arrays]:
        import torch

        mapped = zipfile.is_zipfile(self.path)  # files of old versions cannot be mapped
        try:
            found = torch.load(self.path, "cpu", weights_only=True, mmap=mapped)
        except pickle.UnpicklingError:
            raise UserError(
                f"{self.path}: damaged, or a pickle of more than tensors, which may run code and "
                "is not opened: save the tensor alone"
            ) from None
        yield _tensors(found, "")


class SafetensorsStore(ArrayStore):
    """Tensors, read by torch since NumPy has no bfloat16."""

    suffixes = (".safetensors",)
    forms = ("x.safetensors#KEY",)

    @contextmanager
    def arrays(self, names: Sequence[str] = ()) -> Iterator[Arrays]:
        from safetensors import safe_open

        with safe_open(self.path, "pt") as file:
            yield {name: file.get_tensor(name) for name in names or file.keys()}


class Hdf5Store(ArrayStore):
    """Data sets, also within groups."""

    suffixes = (".h5", ".hdf5")
    forms = ("x.h5#KEY",)
    extra = "hdf5"

    @contextmanager
    def arrays(self, names: Sequence[str] = ()) -> Iterator[Arrays]:
        with import_client("h5py", self.extra).File(self.path, "r") as file:
            found = list(names)
            if not found:
                file.visit(found.append)
            arrays = {name: file[name] for name in found}
            yield {n: array for n, array in arrays.items() if getattr(array, "shape", None)}


class ZarrStore(ArrayStore):
    """An array or a group of them, in a folder whose name ends with .zarr."""

    suffixes = (".zarr",)
    forms = ("x.zarr", "x.zarr#KEY")
    extra = "zarr"

    @contextmanager
    def arrays(self, names: Sequence[str] = ()) -> Iterator[Arrays]:
        found = import_client("zarr", self.extra).open(str(self.path), mode="r")
        if hasattr(found, "shape"):
            yield {"": found}
        elif names:
            yield {name: found[name] for name in names}
        else:
            members = found.members(max_depth=None)
            yield {name: array for name, array in members if hasattr(array, "shape")}

    def fingerprint_of_files(self) -> str:
        files = sorted(path for path in self.path.rglob("*") if path.is_file())
        facts = [(path.relative_to(self.path), path.stat()) for path in files]
        return digest(*((path, stat.st_size, stat.st_mtime_ns) for path, stat in facts))


def _kind(array: Any) -> str:
    """The name of an array's type, of NumPy's or torch's."""
    return str(getattr(array.dtype, "name", array.dtype)).removeprefix("torch.")


def _numbers(rows: Any) -> np.ndarray:
    return np.array(rows.float() if hasattr(rows, "float") else rows)


def _read_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """The shape of an array of NumPy's, whether it is stored by columns, and its type."""
    if np.lib.format.read_magic(file) == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    return np.lib.format.read_array_header_2_0(file)


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
