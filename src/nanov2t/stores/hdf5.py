"""HDF5 files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nanov2t.stores.arrays import ArrayStore, Shapes
from nanov2t.stores.base import import_client


class Hdf5Store(ArrayStore):
    """Data sets, also within groups."""

    suffixes = (".h5", ".hdf5")
    forms = ("x.h5#KEY",)
    extra = "hdf5"

    def shapes(self) -> Shapes:
        self._client, found = import_client("h5py", self.extra), Shapes()

        def note(name: str, item: Any) -> None:
            if isinstance(item, self._client.Dataset) and item.shape is not None:
                found[name] = item.shape, item.dtype.name

        with self._client.File(self.path, "r") as file:
            file.visititems(note)
        return found

    def read_arrays(self, names: Sequence[str], rows: slice) -> list[np.ndarray]:
        with self._client.File(self.path, "r") as file:
            return [file[name][rows] for name in names]
