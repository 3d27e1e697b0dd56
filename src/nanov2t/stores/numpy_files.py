"""Arrays as numpy keeps them, and as benchmarks of nearest neighbours do."""

from __future__ import annotations

import zipfile
from abc import abstractmethod
from collections.abc import Sequence
from typing import IO, Any

import numpy as np

from nanov2t.stores.arrays import ArrayStore, Shapes

RAW = {".fbin": "<f4", ".ibin": "<i4", ".u8bin": "u1", ".i8bin": "i1"}


class MappedStore(ArrayStore):
    """An array alone, which is mapped.

    Anew for every chunk: what was read of a mapping counts as memory until it is closed.
    """

    own_ids = "row numbers"

    def shapes(self) -> Shapes:
        array = self.map()
        return {"": (array.shape, array.dtype.name)}

    def read_arrays(self, names: Sequence[str], rows: slice) -> list[np.ndarray]:
        return [np.array(self.map()[rows])]

    @abstractmethod
    def map(self) -> np.ndarray:
        """The array."""


class NpyStore(MappedStore):
    """An array of numpy's."""

    suffixes = (".npy",)
    forms = ("x.npy",)

    def map(self) -> np.ndarray:
        if not self.path.stat().st_size:
            raise ValueError("the file is empty")
        array = np.lib.format.open_memmap(self.path, mode="r")
        if array.offset + array.nbytes != self.path.stat().st_size:
            raise ValueError("its size is not what its header says")
        return array


class RawStore(MappedStore):
    """An array after two int32: the numbers of its rows and of its dimensions."""

    suffixes = tuple(RAW)
    forms = ("x.fbin",)

    def map(self) -> np.ndarray:
        rows, dim = (int(n) for n in np.fromfile(self.path, "<i4", 2))
        kind = np.dtype(RAW[self.path.suffix.lower()])
        if 8 + rows * dim * kind.itemsize != self.path.stat().st_size:
            raise ValueError(f"its size is not that of {rows} rows of {dim} {kind.name}")
        return np.memmap(self.path, kind, "r", offset=8, shape=(rows, dim))


class NpzStore(ArrayStore):
    """An array of several; read as a stream, since it may be compressed."""

    suffixes = (".npz",)
    forms = ("x.npz#KEY",)

    _file: IO[bytes] | None = None
    _whole: np.ndarray | None = None

    def shapes(self) -> Shapes:
        with zipfile.ZipFile(self.path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
            self.headers = {name: _header(archive, name) for name in names}
        return {name: (shape, kind.name) for name, (shape, _, kind) in self.headers.items()}

    def read_arrays(self, names: Sequence[str], rows: slice) -> list[np.ndarray]:
        shape, by_column, kind = self.headers[names[0]]
        if rows == slice(None):
            return [self._read_whole(name) for name in names]
        if by_column:  # a row is all over the file
            self._whole = self._read_whole(names[0]) if self._whole is None else self._whole
            return [self._whole[rows]]
        if self._file is None:
            archive = zipfile.ZipFile(self.path)
            self._file = archive.open(f"{names[0]}.npy")  # it stays open for the next rows
            _read_header(self._file)
            self._start = self._file.tell()
        size = shape[1] * kind.itemsize
        self._file.seek(self._start + rows.start * size)
        content = self._file.read((rows.stop - rows.start) * size)
        return [np.frombuffer(content, kind).reshape(-1, shape[1])]

    def _read_whole(self, name: str) -> np.ndarray:
        with zipfile.ZipFile(self.path) as archive, archive.open(f"{name}.npy") as file:
            return np.lib.format.read_array(file)


Header = tuple[tuple[int, ...], bool, np.dtype[Any]]
"""The shape of an array, whether its columns come first, and the type of its numbers."""


def _header(archive: zipfile.ZipFile, name: str) -> Header:
    with archive.open(f"{name}.npy") as file:
        return _read_header(file)


def _read_header(file: IO[bytes]) -> Header:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    return np.lib.format.read_array_header_2_0(file)
