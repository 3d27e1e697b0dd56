"""Files of arrays by name."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nanov2t.core.errors import UserError
from nanov2t.stores.base import Fetched, NoRows, Store, file_fingerprint
from nanov2t.stores.choosing import pick

NUMBERS = ("float", "bfloat", "int", "uint")
Shapes = dict[str, tuple[tuple[int, ...], str]]
"""The shape of each array, and the type of its numbers; one alone may have an empty name."""


class ArrayStore(Store):
    """An array [n, dim], or one vector [dim]; or, in a file without such a table, several vectors
    whose names are their ids."""

    own_ids = "the names of single vectors, or row numbers"

    def __init__(self, where: str, key: str, ids: str | None):
        self.path = Path(where)
        shapes = self.shapes()
        numbers = [n for n, (_, kind) in shapes.items() if kind.startswith(NUMBERS)]
        tables = [n for n in numbers if len(shapes[n][0]) == 2]
        vectors = [n for n in numbers if len(shapes[n][0]) == 1 and "float" in shapes[n][1]]
        alike = len({shapes[n][0] for n in vectors}) == 1
        if key or tables or not alike:
            vectors = [pick(where, key, tables or numbers or shapes)]
        shape, kind = shapes[vectors[0]]
        name = where if len(vectors) > 1 or not vectors[0] else f"{where}#{vectors[0]}"
        if 0 in shape:
            raise NoRows(name)
        if len(shape) not in (1, 2):
            raise UserError(f"{name}: an array of shape {shape}, not vectors [n, dim]")
        self.names, self.is_table = vectors, len(shape) == 2
        count = shape[0] if self.is_table else len(vectors)
        numbered = len(vectors) == 1 or vectors == [str(i) for i in range(count)]
        self.describe(name, kind, count, self.fingerprint_of_files(), integer_ids=numbered)

    @abstractmethod
    def shapes(self) -> Shapes:
        """What arrays there are."""

    @abstractmethod
    def read_arrays(self, names: Sequence[str], rows: slice) -> list[np.ndarray]:
        """Rows of some arrays."""

    def fetch(self, start: int, stop: int) -> Fetched:
        if self.is_table:
            return range(start, stop), self.read_arrays(self.names, slice(start, stop))[0]
        names = self.names[start:stop]
        vectors = self.read_arrays(names, slice(None))
        return range(start, stop) if self.integer_ids else names, vectors

    def fingerprint_of_files(self) -> str:
        return file_fingerprint(self.path)
