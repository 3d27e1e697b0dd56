"""What every store of vectors is: rows that are read in chunks, so that memory stays constant."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from nanov2t.core.errors import UserError, first_line
from nanov2t.core.files import file_fingerprint
from nanov2t.core.vectors import bad_rows

HEAD = 1024  # rows that show what a store holds, and rows read ahead
HINTS = {
    "database is locked": ": another program writes to it: stop it, or read a copy",
    "disk image is malformed": ": save what is left with: sqlite3 FILE .recover",
}  # what to do about some messages of readers
Fetched = tuple[Sequence[Any], Sequence[Any] | np.ndarray]
"""Ids of rows, and their vectors: an array [n, dim], or n arrays or lists. Instead of a vector, a
row may have None or the reason why it has none."""


class NoRows(UserError):
    """A store is intact but empty; among shards it is skipped."""

    def __init__(self, name: str):
        super().__init__(f"{name}: holds no vectors")


@dataclass(frozen=True)
class Rows:
    """Consecutive rows of a store."""

    ids: list[Any]
    vectors: np.ndarray  # float32 [n, dim]; zero for rows with an error
    errors: dict[int, str]  # why a row cannot be inverted, by its index in these rows

    @classmethod
    def of(cls, ids: list[Any], values: Sequence[Any] | np.ndarray, dim: int) -> Self:
        """Rows of `dim` numbers from values as in :data:`Fetched`."""
        with np.errstate(all="ignore"):  # too large for float32 becomes infinite: that row's error
            if isinstance(values, np.ndarray) and values.shape[1:] == (dim,):
                vectors, errors = values.astype(np.float32), {}
            else:
                rows = [_row(value, dim) for value in values]
                errors = {i: row for i, row in enumerate(rows) if isinstance(row, str)}
                good = [np.zeros(dim) if isinstance(row, str) else row for row in rows]
                vectors = np.array(good, np.float32).reshape(-1, dim)
        errors = bad_rows(vectors) | errors
        vectors[list(errors)] = 0
        return cls(ids, vectors, errors)


def _row(value: Any, dim: int) -> np.ndarray | str:
    if value is None or isinstance(value, str):
        return value or "missing"
    try:
        row = np.asarray(value, np.float32)
    except (TypeError, ValueError, OverflowError):
        return "not a list of numbers"
    return row if row.shape == (dim,) else f"{row.size} dimensions, not {dim}"


class Store:
    """Rows of vectors, in a file or in a database.

    A kind of store defines :meth:`rows` or :meth:`fetch`, and a constructor that ends with
    :meth:`describe`. They may raise anything: its first line becomes a :class:`UserError` that
    names the store. The constructor takes the path of a file, or what follows the scheme; the key
    after the `#`, possibly empty; and the column of ids, or None.
    """

    forms: ClassVar[tuple[str, ...]]  # how users write it, such as `x.csv#COLUMN` or `chroma:PATH`
    extra: ClassVar[str] = ""  # our extra that installs its client
    takes_ids: ClassVar[bool] = False  # whether the user may choose a column of ids
    own_ids: ClassVar[str] = "row numbers"  # what ids are otherwise; for the documentation

    name: str  # for messages; without passwords
    kind: str  # the type of the numbers as stored
    count: int
    dim: int  # if rows differ, the commonest of the first ones
    integer_ids: bool  # whether ids are int64; else they are strings
    fingerprint: str  # changes with the contents, not with the place
    ids: str | None = None  # the chosen column
    keeps_ids = False  # whether `rows` gives ids without a chosen column
    path: Path  # of a file
    _iterator: Iterator[tuple[Any, Any]] = iter(())
    _position = -1

    def __init__(self, where: str, key: str, ids: str | None):
        raise NotImplementedError

    def rows(self) -> Iterator[tuple[Any, Any]]:
        """Id and vector of every row, for a store that is read forwards."""
        raise NotImplementedError

    def fetch(self, start: int, stop: int) -> Fetched:
        """The rows from `start` up to `stop`. By default, skips ahead in :meth:`rows`."""
        if not 0 <= self._position <= start:
            self._iterator, self._position = self.rows(), 0
        rows = list(islice(self._iterator, start - self._position, stop - self._position))
        self._position = stop
        own = self.ids or self.keeps_ids
        ids = [id_ for id_, _ in rows] if own else range(start, start + len(rows))
        return ids, [vector for _, vector in rows]

    def contents(self) -> str:
        """The fingerprint of a file. Databases define their own, or give it to `describe`."""
        return file_fingerprint(self.path)

    def describe(
        self, name: str, kind: str, count: int, integer_ids: bool = True, fingerprint: str = ""
    ) -> None:
        """Set the attributes, `dim` from the first rows. A UserError if there are no vectors."""
        if not (kind in ("text", "bfloat16") or kind.startswith(("float", "int", "uint"))):
            raise UserError(f"{name}: vectors of {kind}, not of floats or whole numbers")
        if not count:
            raise NoRows(name)
        self.name, self.kind, self.count = name, kind, count
        self.fingerprint, self.integer_ids = fingerprint or self.contents(), integer_ids
        _, head = self.fetch(0, min(count, HEAD))
        sizes = [len(row) for row in head if not isinstance(row, str) and np.ndim(row) == 1]
        if not sizes:
            raise UserError(f"{name}: holds no vectors")
        [(self.dim, _)] = Counter(sizes).most_common(1)

    def describe_by_reading(self, name: str, kind: str) -> None:
        """As :meth:`describe`, for a store that does not report changes: reads all rows."""
        count, integers, found = 0, True, hashlib.sha256()
        for row in self.rows():
            count += 1
            integers &= isinstance(row[0], int)
            found.update(repr(row).encode())
        integers |= not (self.ids or self.keeps_ids)
        self.describe(name, kind, count, integers, found.hexdigest()[:16])

    def expect(self, dim: int, embedder: str) -> None:
        """Refuse vectors of another dimension than an embedder's."""
        if self.dim != dim:
            turned = f": {dim} rows of {self.dim}, transposed?" if self.count == dim else ""
            said = f"vectors of {self.dim} dimensions, but {embedder} makes {dim}{turned}"
            raise UserError(f"{self.name}: {said}")

    def read(self, start: int, stop: int) -> Rows:
        """The rows from `start` up to `stop`. A UserError if they cannot be read."""
        with reading(self.name):
            ids, values = self.fetch(start, stop)
        if len(values) != stop - start:
            row = start + len(values)
            raise UserError(f"{self.name}: has no row {row}: it changed while it was read")
        ids = [i if i is None or self.integer_ids else str(i) for i in ids]
        return Rows.of(ids, values, self.dim)


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Turn any error of a reader into one line that names the store."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        said = first_line(error)
        hint = next((hint for part, hint in HINTS.items() if part in said), "")
        raise UserError(f"{name}: cannot be read: {said}{hint}") from None
