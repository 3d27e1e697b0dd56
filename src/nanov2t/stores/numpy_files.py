"""numpy's files."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from nanov2t.core.errors import UserError
from nanov2t.stores.base import Source, array_source, pick


def read_npy(path: Path, key: str, ids: str | None) -> Source:
    if key:
        raise UserError(f"{path}: holds one array, no {key}")

    def load() -> np.ndarray:
        # Mapped anew for every chunk: what was read of a mapping counts as memory until it is
        # closed.
        array = np.lib.format.open_memmap(path, mode="r")
        if array.offset + array.nbytes != path.stat().st_size:
            raise ValueError("its size is not what its header says")
        return np.atleast_2d(array)

    array = load()
    return array_source(
        str(path), array.shape, array.dtype.name, path, lambda a, b: np.array(load()[a:b])
    )


def read_npz(path: Path, key: str, ids: str | None) -> Source:
    archive = zipfile.ZipFile(path)
    name = pick(str(path), key, [n.removesuffix(".npy") for n in archive.namelist()])
    member = f"{name}.npy"
    with archive.open(member) as file:
        header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }
        shape, by_column, kind = header[np.lib.format.read_magic(file)](file)
        start = file.tell()
        # Its checksum is compared at the end: read all of it now, or damage would be met in the
        # middle of the night.
        size = sum(map(len, iter(lambda: file.read(1 << 20), b"")))
    if kind.hasobject or size != kind.itemsize * int(np.prod(shape)):
        raise ValueError(f"{member} is not an array of {shape} numbers")
    if by_column:
        raise UserError(f"{path}#{name}: stored column by column; save it as .npy")
    stream = archive.open(member)

    def get(a: int, b: int) -> np.ndarray:
        width = kind.itemsize * shape[1]
        stream.seek(start + a * width)
        return np.frombuffer(stream.read((b - a) * width), kind).reshape(-1, shape[1])

    return array_source(f"{path}#{name}", shape, kind.name, path, get)
