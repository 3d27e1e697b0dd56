"""numpy's .npy files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nanov2t.core.errors import UserError
from nanov2t.stores.base import Fetched, Store, check_shape, file_fingerprint


class NpyStore(Store):
    """An array [n, dim], or one vector [dim]."""

    suffixes = (".npy",)
    forms = ("x.npy",)

    def __init__(self, where: str, key: str, ids: str | None):
        self.path = Path(where)
        if key:
            raise UserError(f"{where}: holds one array, no {key}")
        array = self._map()
        check_shape(where, array.shape)
        self.describe(where, array.dtype.name, len(array), file_fingerprint(self.path))

    def fetch(self, start: int, stop: int) -> Fetched:
        return range(start, stop), np.array(self._map()[start:stop])

    def _map(self) -> np.ndarray:
        # Mapped anew for every chunk: what was read of a mapping counts as memory until it is
        # closed.
        array = np.lib.format.open_memmap(self.path, mode="r")
        if array.offset + array.nbytes != self.path.stat().st_size:
            raise ValueError("its size is not what its header says")
        return np.atleast_2d(array)
