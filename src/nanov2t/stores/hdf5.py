"""HDF5 files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from nanov2t.stores.base import Fetched, Store, check_shape, file_fingerprint, import_client, pick


class Hdf5Store(Store):
    """A data set [n, dim], also within groups."""

    suffixes = (".h5", ".hdf5")
    forms = ("x.h5#KEY",)
    extra = "hdf5"

    def __init__(self, where: str, key: str, ids: str | None):
        self.path, self._client = Path(where), import_client("h5py", self.extra)
        shapes: dict[str, tuple[int, ...]] = {}

        def note(name: str, item: Any) -> None:
            if isinstance(item, self._client.Dataset) and item.dtype.kind in "fiu":
                shapes[name] = item.shape

        with self._client.File(self.path, "r") as file:
            file.visititems(note)
            tables = [name for name, shape in shapes.items() if len(shape) == 2]
            self.key = pick(where, key, tables or shapes)
            check_shape(f"{where}#{self.key}", shapes[self.key])
            kind, count = file[self.key].dtype.name, len(file[self.key])
        self.describe(f"{where}#{self.key}", kind, count, file_fingerprint(self.path))

    def fetch(self, start: int, stop: int) -> Fetched:
        with self._client.File(self.path, "r") as file:
            vectors: np.ndarray = file[self.key][start:stop]
        return range(start, stop), vectors
