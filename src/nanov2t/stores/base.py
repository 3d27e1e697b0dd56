"""Vectors from wherever they are kept: what a SOURCE is, and what its readers share.

It is read in chunks of rows, so memory does not grow with it.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from nanov2t.core.errors import UserError

HEAD = 1024
"""Rows that are looked at to learn what a source holds, and that are read ahead."""

Fetch = Callable[[int, int], tuple[Any, Any]]
"""Ids and vectors of the rows from a start up to a stop: an array [n, dim], or n arrays, lists,
None where there is no vector, or strings that say why."""


@dataclass(frozen=True)
class Rows:
    ids: list
    vectors: np.ndarray
    """float32 [n, dim]; zero where there is an error"""
    errors: dict[int, str]
    """Why a row, by its place among these, has no vector that could be inverted."""


@dataclass(frozen=True)
class Source:
    """Rows of vectors.

    Attributes:
        name: the SOURCE as given, without passwords.
        count: rows.
        dim: of the vectors; where rows differ, that of most of the first ones.
        kind: the type of the numbers as stored.
        integer_ids: whether ids are int64; else they are strings.
        fingerprint: changes when the source does. Sources may be far larger than what can be hashed
            at every start, so it covers what reveals a change cheaply: sizes, times or versions,
            and samples.
        fetch: the reader; its errors are the format's own.
        ids: the column of the ids, where one was chosen.
    """

    name: str
    count: int
    dim: int
    kind: str
    integer_ids: bool
    fingerprint: str
    fetch: Fetch
    ids: str | None = None

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
        vectors, errors = _matrix(values, self.dim)
        for reason, bad in (
            ("not finite", ~np.isfinite(vectors).all(1)),
            ("zero", (vectors == 0).all(1)),
        ):
            errors = {int(i): reason for i in np.flatnonzero(bad)} | errors
        vectors[list(errors)] = 0
        return Rows([i if i is None or self.integer_ids else str(i) for i in ids], vectors, errors)


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Turns whatever the reader of a format raises into one line that names the source."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        lines = str(error).strip().splitlines()
        raise UserError(
            f"{name}: cannot be read: {lines[0] if lines else type(error).__name__}"
        ) from None


def make(
    name: str, kind: str, count: int, fingerprint: str, fetch: Fetch, integer_ids: bool = True
) -> Source:
    """A source whose first rows say how long its vectors are.

    Raises:
        UserError: there are no vectors, or they are of another type than floats and signed
            integers.
    """
    numeric = kind in ("json", "bfloat16") or kind.startswith(("float", "int"))
    if not numeric:
        raise UserError(f"{name}: vectors of {kind}, not of floats or int8")
    _, head = fetch(0, min(count, HEAD))
    lengths = Counter(len(row) for row in head if not isinstance(row, str) and np.ndim(row) == 1)
    if not lengths:
        raise UserError(f"{name}: holds no vectors")
    return Source(name, count, lengths.most_common(1)[0][0], kind, integer_ids, fingerprint, fetch)


def pick(name: str, key: str, names: Iterable[str]) -> str:
    """The one of `names` that holds the vectors: the `key` if one was given."""
    names = list(names)
    usual = [n for n in ("vector", "embedding", "vectors", "embeddings") if n in names]
    if key in names or (not key and (len(names) == 1 or usual)):
        return key or (usual or names)[0]
    if not names:
        raise UserError(f"{name}: holds no vectors")
    wrong = f"no {key} in it." if key else "which vectors?"
    raise UserError(f"{name}: {wrong} Choose one after a #: {', '.join(names)}")


def digest(*parts: Any) -> str:
    return hashlib.sha256(
        b"\0".join(p if isinstance(p, bytes) else str(p).encode() for p in parts)
    ).hexdigest()[:16]


def forward(start_over: Callable[[], Iterator[tuple]]) -> Fetch:
    """Rows of what can only be read forwards: skips ahead, and starts over to go back."""
    rows: Iterator[tuple] = iter(())
    position = -1

    def fetch(start: int, stop: int) -> tuple[list, list]:
        nonlocal rows, position
        if not 0 <= position <= start:
            rows, position = start_over(), 0
        taken = list(itertools.islice(rows, start - position, stop - position))
        position = stop
        return [id_ for id_, _ in taken], [vector for _, vector in taken]

    return fetch


def arrow_rows(batch, column: str, ids: str | None, start: int) -> Iterator[tuple]:
    """Ids and vectors of a pyarrow RecordBatch that starts at row `start`."""
    import pyarrow as pa

    vectors = batch.column(column)
    if pa.types.is_fixed_size_list(vectors.type) and not vectors.null_count:
        rows: Iterable = vectors.flatten().to_numpy(zero_copy_only=False).reshape(len(vectors), -1)
    else:
        rows = (
            row.values.to_numpy(zero_copy_only=False) if row.is_valid else None for row in vectors
        )
    return zip(batch.column(ids).to_pylist() if ids else itertools.count(start), rows, strict=False)


def arrow_columns(name: str, schema, key: str, ids: str | None) -> tuple[str, str, bool]:
    """The column of the vectors, the type of its numbers, and whether the ids are int64."""
    import pyarrow as pa

    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    column = pick(
        name, key, [field.name for field in schema if any(is_list(field.type) for is_list in lists)]
    )
    if ids and ids not in schema.names:
        raise UserError(f"{name}: no column {ids}, only {', '.join(schema.names)}")
    kind = np.dtype(schema.field(column).type.value_type.to_pandas_dtype()).name
    return column, kind, not ids or pa.types.is_signed_integer(schema.field(ids).type)


def _matrix(values: Sequence, dim: int) -> tuple[np.ndarray, dict[int, str]]:
    """float32 [n, dim] of n rows, and what is wrong with those left zero."""
    with np.errstate(all="ignore"):  # beyond float32 is infinite, which is an error of that row
        if isinstance(values, np.ndarray) and values.shape[1:] == (dim,):
            return values.astype(np.float32), {}
        vectors, errors = np.zeros((len(values), dim), np.float32), {}
        for i, value in enumerate(values):
            try:
                row = (
                    None
                    if value is None or isinstance(value, str)
                    else np.asarray(value, np.float32)
                )
            except (TypeError, ValueError, OverflowError):
                errors[i] = "not a list of numbers"
                continue
            if row is None:
                errors[i] = value or "missing"
            elif row.shape != (dim,):
                errors[i] = f"{row.size} dimensions, not {dim}"
            else:
                vectors[i] = row
    return vectors, errors


def file_fingerprint(path: Path) -> str:
    """Size, time of the last change, and 4 KiB at each of 64 places: a change anywhere moves the
    time, and what keeps the time, such as another file copied there with its own, is in all
    likelihood another at one of the places."""
    facts = path.stat()
    with open(path, "rb") as file:
        samples = []
        for i in range(64):
            file.seek(max(0, facts.st_size - 4096) * i // 63)
            samples.append(file.read(4096))
    return digest(facts.st_size, facts.st_mtime_ns, *samples)


def array_source(
    name: str, shape: Sequence[int], kind: str, path: Path, get: Callable[[int, int], np.ndarray]
) -> Source:
    """A source of one array [n, dim]."""
    if len(shape) != 2 or not all(shape):
        raise UserError(f"{name}: an array of shape {tuple(shape)}, not vectors [n, dim]")
    return make(name, kind, shape[0], file_fingerprint(path), lambda a, b: (range(a, b), get(a, b)))


def import_client(module: str, extra: str):
    """The client of a store.

    Raises:
        UserError: it is not installed.
    """
    try:
        return import_module(module)
    except ImportError:
        raise UserError(f"{module} is not installed: pip install 'nanov2t[{extra}]'") from None


def parts(spec: str) -> tuple[str, str]:
    """What stands before the # and after it; a path without its scheme."""
    where, _, name = spec.rpartition("#")
    if not name or not where:
        raise UserError(f"{spec}: say which table or collection after a #")
    scheme, _, path = where.partition(":")
    return where if scheme.startswith("postgres") else path, name


def ends(fetch: Fetch, count: int, *facts) -> str:
    """A fingerprint from the first and the last rows."""
    first, last = fetch(0, min(count, 256)), fetch(max(0, count - 256), count)
    return digest(count, *facts, *(np.asarray(part).tobytes() for part in (*first, *last)))
