"""numpy's .npz files."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from nanov2t.stores.base import HEAD, ForwardStore, check_shape, file_fingerprint, pick


class NpzStore(ForwardStore):
    """An array [n, dim] of several; read as a stream, since it may be compressed."""

    suffixes = (".npz",)
    forms = ("x.npz#KEY",)

    def __init__(self, where: str, key: str, ids: str | None):
        self.path = Path(where)
        with zipfile.ZipFile(self.path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
            shapes = {name: _header(archive, name) for name in names}
            tables = [name for name, (shape, _, _) in shapes.items() if len(shape) == 2]
            self.key = pick(where, key, tables or names)
        self.shape, self.by_column, self.type = shapes[self.key]
        check_shape(f"{where}#{self.key}", self.shape)
        fingerprint = file_fingerprint(self.path)
        self.describe(f"{where}#{self.key}", self.type.name, self.shape[0], fingerprint)

    def rows(self) -> Iterator[tuple[Any, Any]]:
        with zipfile.ZipFile(self.path) as archive, archive.open(f"{self.key}.npy") as file:
            if self.by_column:  # a row is all over the file
                yield from ((None, row) for row in np.lib.format.read_array(file))
                return
            _read_header(file)
            for start in range(0, self.shape[0], HEAD):
                shape = min(HEAD, self.shape[0] - start), self.shape[1]
                content = file.read(shape[0] * shape[1] * self.type.itemsize)
                yield from ((None, row) for row in np.frombuffer(content, self.type).reshape(shape))


def _header(archive: zipfile.ZipFile, name: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    with archive.open(f"{name}.npy") as file:
        return _read_header(file)


def _read_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """The shape of an array, whether its columns come first, and the type of its numbers."""
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    return np.lib.format.read_array_header_2_0(file)
