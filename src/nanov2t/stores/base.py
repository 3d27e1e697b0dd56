"""What every store of vectors is: rows that are read in chunks, so that memory stays constant."""

from __future__ import annotations

import hashlib
import itertools
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from nanov2t.core.errors import UserError, first_line
from nanov2t.core.vectors import bad_rows

HEAD = 1024
"""Rows that show what a store holds, and rows read ahead."""

HINTS = {
    "database is locked": "another program writes to it: stop it, or read a copy",
    "disk image is malformed": "save what is left with: sqlite3 FILE .recover",
}
"""What to do about some messages of readers."""

Fetched = tuple[Sequence[Any], Sequence[Any] | np.ndarray]
"""Ids of rows, and their vectors: an array [n, dim], or n arrays or lists. A row without a vector
is None, or a string that gives the reason."""


class NoRows(UserError):
    """A store is intact but empty; among shards it is skipped."""

    def __init__(self, name: str):
        super().__init__(f"{name}: holds no vectors")


@dataclass(frozen=True)
class Rows:
    """Consecutive rows of a store."""

    ids: list[Any]
    vectors: np.ndarray
    """float32 [n, dim]; zero for rows with an error."""
    errors: dict[int, str]
    """Why a row cannot be inverted, by its index in these rows."""

    @classmethod
    def of(cls, ids: list[Any], values: Sequence[Any] | np.ndarray, dim: int) -> Rows:
        """Rows of `dim` numbers from values as in :data:`Fetched`."""
        vectors, errors = _matrix(values, dim)
        errors = bad_rows(vectors) | errors
        vectors[list(errors)] = 0
        return cls(ids, vectors, errors)


class Store(ABC):
    """Rows of vectors, in a file or in a database.

    A kind of store is a class with :meth:`fetch` and a constructor that takes

    - `where`, the path of a file, or the text after the scheme: `PATH` of `chroma:PATH#NAME`;
    - `key`, the text after the `#`, or an empty string;
    - `ids`, the name of the column of ids, or None

    and that ends with :meth:`describe`. Both may raise anything: its first line becomes one
    :class:`UserError` that names the store.

    Attributes:
        name: for messages; without passwords.
        kind: the type of the numbers as stored.
        count: number of rows.
        dim: of the vectors; if rows differ, the commonest of the first ones.
        integer_ids: whether ids are int64; else they are strings.
        ids: the column of ids, if one was chosen.
        fingerprint: changes with the contents, not with the place. A store may be too large to be
            hashed at every start, so it covers sizes, times or versions, and samples.
    """

    suffixes: ClassVar[tuple[str, ...]] = ()
    """Of the files that this kind reads."""
    schemes: ClassVar[tuple[str, ...]] = ()
    """Of the databases that it reads: the text before the first colon."""
    forms: ClassVar[tuple[str, ...]]
    """How users write it, such as `x.csv`; for the documentation."""
    extra: ClassVar[str] = ""
    """Our extra that installs its client."""
    takes_ids: ClassVar[bool] = False
    """Whether the user may choose a column of ids."""
    own_ids: ClassVar[str] = "row numbers"
    """Where ids come from otherwise; for the documentation."""

    name: str
    kind: str
    count: int
    dim: int
    integer_ids: bool
    fingerprint: str
    ids: str | None = None

    @abstractmethod
    def __init__(self, where: str, key: str, ids: str | None): ...

    @abstractmethod
    def fetch(self, start: int, stop: int) -> Fetched:
        """The rows from `start` up to `stop`, in the order of the store."""

    def describe(
        self, name: str, kind: str, count: int, fingerprint: str, integer_ids: bool = True
    ) -> None:
        """Set the attributes, `dim` from the first rows.

        Raises:
            UserError: there are no vectors, or they are neither floats nor integers.
        """
        if not (kind in ("text", "bfloat16") or kind.startswith(("float", "int", "uint"))):
            raise UserError(f"{name}: vectors of {kind}, not of floats or whole numbers")
        if not count:
            raise NoRows(name)
        self.name, self.kind, self.count = name, kind, count
        self.fingerprint, self.integer_ids = fingerprint, integer_ids
        _, head = self.fetch(0, min(count, HEAD))
        vectors = [row for row in head if not isinstance(row, str) and np.ndim(row) == 1]
        if not vectors:
            raise UserError(f"{name}: holds no vectors")
        [(self.dim, _)] = Counter(map(len, vectors)).most_common(1)

    def expect(self, dim: int, embedder: str) -> None:
        """Refuse vectors of another dimension than an embedder's."""
        if self.dim != dim:
            turned = f": {dim} rows of {self.dim}, transposed?" if self.count == dim else ""
            raise UserError(
                f"{self.name}: vectors of {self.dim} dimensions, but {embedder} makes {dim}{turned}"
            )

    def read(self, start: int, stop: int) -> Rows:
        """The rows from `start` up to `stop`.

        Raises:
            UserError: they cannot be read.
        """
        with reading(self.name):
            ids, values = self.fetch(start, stop)
        if len(values) != stop - start:
            raise UserError(
                f"{self.name}: has no row {start + len(values)}: it changed while it was read"
            )
        ids = [i if i is None or self.integer_ids else str(i) for i in ids]
        return Rows.of(ids, values, self.dim)


class ForwardStore(Store):
    """A store that can only be read forwards. It skips ahead, and starts over to go back."""

    keeps_ids = False
    """Whether rows have ids without a chosen column."""

    _iterator: Iterator[tuple[Any, Any]] = iter(())
    _position = -1

    @abstractmethod
    def rows(self) -> Iterator[tuple[Any, Any]]:
        """Id and vector of every row. The ids are used if a column was chosen, or if the store
        keeps ids; else they may be anything."""

    def fetch(self, start: int, stop: int) -> Fetched:
        if not 0 <= self._position <= start:
            self._iterator, self._position = self.rows(), 0
        skipped = start - self._position
        rows = list(itertools.islice(self._iterator, skipped, stop - self._position))
        self._position = stop
        vectors = [vector for _, vector in rows]
        if self.ids or self.keeps_ids:
            return [id_ for id_, _ in rows], vectors
        return range(start, start + len(rows)), vectors


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Turn whatever a reader raises into one line that names the store."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        said = first_line(error)
        hints = [f": {hint}" for part, hint in HINTS.items() if part in said]
        raise UserError(f"{name}: cannot be read: {''.join([said, *hints])}") from None


def rows_fingerprint(rows: Iterable[Any]) -> str:
    """A hash of all rows, for servers that do not report changes. Reading takes far less time than
    inverting."""
    found = hashlib.sha256()
    for row in rows:
        found.update(repr(row).encode())
    return found.hexdigest()[:16]


def _matrix(values: Sequence[Any] | np.ndarray, dim: int) -> tuple[np.ndarray, dict[int, str]]:
    """float32 [n, dim] of n rows, and what is wrong with those left zero."""
    with np.errstate(all="ignore"):  # too large for float32 becomes infinite, an error of that row
        if isinstance(values, np.ndarray) and values.shape[1:] == (dim,):
            return values.astype(np.float32), {}
        vectors, errors = np.zeros((len(values), dim), np.float32), {}
        for i, value in enumerate(values):
            if value is None or isinstance(value, str):
                errors[i] = value or "missing"
                continue
            try:
                row = np.asarray(value, np.float32)
            except (TypeError, ValueError, OverflowError):
                errors[i] = "not a list of numbers"
                continue
            if row.shape == (dim,):
                vectors[i] = row
            else:
                errors[i] = f"{row.size} dimensions, not {dim}"
    return vectors, errors
