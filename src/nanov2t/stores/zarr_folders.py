"""Arrays of Zarr."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nanov2t.stores.base import Fetched, Store, check_shape, digest, import_client, pick


class ZarrStore(Store):
    """An array [n, dim], alone or in a group; a folder whose name ends with .zarr."""

    suffixes = (".zarr",)
    forms = ("x.zarr", "x.zarr#KEY")
    extra = "zarr"

    def __init__(self, where: str, key: str, ids: str | None):
        found = import_client("zarr", self.extra).open(where, mode="r")
        arrays = {"": found} if hasattr(found, "shape") else dict(found.arrays())
        tables = [name for name, array in arrays.items() if len(array.shape) == 2]
        self.key = pick(where, key, tables or arrays)
        self.array = arrays[self.key]
        name = f"{where}#{self.key}" if self.key else where
        check_shape(name, self.array.shape)
        # The chunks have times of their own; of each a sample would cost more than it tells.
        files = sorted(path for path in Path(where).rglob("*") if path.is_file())
        facts = [(path.relative_to(where), path.stat()) for path in files]
        fingerprint = digest(*((p, s.st_size, s.st_mtime_ns) for p, s in facts))
        self.describe(name, self.array.dtype.name, self.array.shape[0], fingerprint)

    def fetch(self, start: int, stop: int) -> Fetched:
        return range(start, stop), np.asarray(self.array[start:stop])
