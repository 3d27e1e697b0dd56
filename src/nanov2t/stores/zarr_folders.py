"""Arrays of Zarr."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nanov2t.core.files import digest
from nanov2t.stores.arrays import ArrayStore, Shapes
from nanov2t.stores.base import import_client


class ZarrStore(ArrayStore):
    """An array, or a group of them; a folder whose name ends with .zarr."""

    suffixes = (".zarr",)
    forms = ("x.zarr", "x.zarr#KEY")
    extra = "zarr"

    def shapes(self) -> Shapes:
        found = import_client("zarr", self.extra).open(str(self.path), mode="r")
        members = {"": found} if hasattr(found, "shape") else dict(found.members(max_depth=None))
        self.arrays = {name: array for name, array in members.items() if hasattr(array, "shape")}
        return {name: (array.shape, array.dtype.name) for name, array in self.arrays.items()}

    def read_arrays(self, names: Sequence[str], rows: slice) -> list[np.ndarray]:
        return [np.asarray(self.arrays[name][rows]) for name in names]

    def fingerprint_of_files(self) -> str:
        # The chunks have times of their own; of each a sample would cost more than it tells.
        files = sorted(path for path in self.path.rglob("*") if path.is_file())
        facts = [(path.relative_to(self.path), path.stat()) for path in files]
        return digest(*((path, stat.st_size, stat.st_mtime_ns) for path, stat in facts))
