"""Finding vectors in nested values, and choosing the ones that the text after the `#` names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np

from nanov2t.core.errors import UserError
from nanov2t.stores.values import Decoder, as_number, decoder_of, why_not

USUAL_NAMES = (
    *("vector", "embedding", "vectors", "embeddings", "values", "emb"),
    *("dense_vector", "sentence_embedding", "vec"),
)
"""Names of vectors: the first one that exists is read without a `#`."""
LISTED = 16
"""Names that a message lists."""

Way = tuple[str | int | None, ...]
"""The way down to a value: keys of objects and indices of lists, None for every item of a list."""
Found = tuple[Way, Decoder]


class Choice(UserError):
    """A store holds several arrays or columns of vectors, and the key does not say which.

    Attributes:
        names: of the arrays or columns.
    """

    def __init__(self, said: str, names: list[str]):
        super().__init__(f"{said}: {listed(names)}")
        self.names = names


def listed(names: Sequence[str]) -> str:
    """Names between commas; the first ones if there are many."""
    more = [f"and {len(names) - LISTED} more"] if len(names) > LISTED + 1 else []
    return ", ".join([*names[:LISTED], *more] if more else names)


def check_ids(name: str, ids: str | None, columns: Iterable[str]) -> None:
    """Refuse a column of ids that does not exist."""
    if ids and ids not in columns:
        raise UserError(f"{name}: no column {ids}, only {listed([*columns])}")


def pick(name: str, key: str, names: Iterable[str]) -> str:
    """The key if it is among `names`; without one, the only name or a usual one.

    Raises:
        UserError: there are no names.
        Choice: the key is not among them, or there is none and several would do.
    """
    names = list(names)
    if not names:
        raise UserError(f"{name}: holds no vectors")
    if key:
        if key in names:
            return key
        if names == [""]:
            raise UserError(f"{name}: its vectors have no name, so no {key}")
        near = {n.lower(): n for n in reversed(names)}
        meant = [near[n] for n in get_close_matches(key.lower(), near, 1)]
        hint = f"; did you mean {meant[0]}?" if meant else "."
        raise Choice(f"{name}: no vectors {key} in it{hint} Choose after a #", names)
    usual = [usual for usual in USUAL_NAMES if usual in names]
    for ending in USUAL_NAMES:
        within = [n for n in names if n.endswith(f".{ending}")]
        usual += within if len(within) == 1 else []
    if usual or len(names) == 1:
        return (usual or names)[0]
    raise Choice(f"{name}: which vectors? Choose one after a #", names)


def pick_column(name: str, key: str, columns: Iterable[str]) -> str:
    """As :func:`pick`, of `TABLE.COLUMN`. A table alone will do if :func:`pick` finds one of its
    columns."""
    columns = list(columns)
    within = [column for column in columns if column.startswith(f"{key}.")]
    alone = bool(within) and key not in columns
    return pick(name, "" if alone else key, within if alone else columns)


def split_key(key: str, names: Iterable[str]) -> tuple[str, str]:
    """A key's table or collection, and what follows the dot after it. Names may hold dots: the
    longest that fits counts."""
    name = max((n for n in names if f"{key}.".startswith(f"{n}.")), key=len, default=key)
    return name, key[len(name) + 1 :]


def choose(
    name: str, rows: Sequence[Any], key: str, found: dict[str, Found]
) -> tuple[str, Way, Decoder]:
    """The name, way and decoder of the vectors that a key means in nested values.

    Args:
        found: the vectors in the rows, from :func:`vector_paths`.

    Raises:
        UserError: there are none; or several, as :func:`pick`.
    """
    if key and key not in found:
        ways = dict.fromkeys(way for row in rows if (way := path_to(row, key)) is not None)
        for way in ways:
            values = [value for row in rows for value in values_at(row, way)]
            if decoder := decoder_of(values):
                return key, way, decoder
            if not any(isinstance(value, dict) for value in values):
                raise UserError(f"{name}: {key} holds no vectors: {why_not(values)}")
        within = {n: way for n, way in found.items() if n.startswith(f"{key}.")}
        found, key = within or found, "" if within else key
    if not found:
        names = list(dict.fromkeys(n for row in rows if isinstance(row, dict) for n in row))
        said = next(_bytes_refused(rows), f"only {listed(names)}" if names else "")
        what = f"no vectors {key} in it" if key else "holds no vectors"
        raise UserError(f"{name}: {what}{', ' * bool(said)}{said}")
    key = pick(name, key, found)
    return (key, *found[key])


def vector_paths(rows: Iterable[Any]) -> dict[str, Found]:
    """The vectors in nested values, by names such as `response.body.data.embedding`."""
    seen: dict[str, tuple[Way, list[Any]]] = {}
    for row in rows:
        for way, value in _leaves(row, ()):
            seen.setdefault(path_name(way), (way, []))[1].append(value)
    return {
        name: (way, decoder)
        for name, (way, values) in seen.items()
        if (decoder := decoder_of(values)) is not None
    }


def path_name(way: Way) -> str:
    return ".".join(str(part) for part in way if part is not None)


def path_to(row: Any, name: str) -> Way | None:
    """The way that a name means, such as `data[0].embedding` or `data.embedding`; None if it leads
    nowhere. Keys may hold any character."""
    if place := re.match(r"\[(\d*)\]\.?", name):
        index = int(place[1] or 0)
        if not isinstance(row, list) or index >= len(row):
            return None
        rest = path_to(row[index], name[place.end() :])
        return None if rest is None else (index if place[1] else None, *rest)
    if isinstance(row, list) and (name or _holds_rows(row)):
        rest = path_to(row[0], name) if row else None
        return None if rest is None else (None, *rest)
    for key in row if name and isinstance(row, dict) else ():
        if name == key or name.startswith((f"{key}.", f"{key}[")):
            rest = path_to(row[key], name.removeprefix(key).removeprefix("."))
            if rest is not None:
                return (key, *rest)
    return None if name else ()


def values_at(row: Any, way: Way) -> list[Any]:
    """The values that a way leads to: several if it passes through lists."""
    if not way:
        return [row]
    part, rest = way[0], way[1:]
    if isinstance(row, list):
        if isinstance(part, int):
            return values_at(row[part], rest) if part < len(row) else []
        return [value for item in row for value in values_at(item, rest if part is None else way)]
    if part is None:
        return values_at(row, rest)
    return values_at(row[part], rest) if isinstance(row, dict) and part in row else []


def _leaves(row: Any, way: Way) -> Iterator[tuple[Way, Any]]:
    """The values that may hold vectors, and the ways there."""
    if isinstance(row, dict):
        sparse = {"indices", "values"} <= row.keys()
        for key, value in row.items() if not sparse else ():
            yield from _leaves(value, (*way, key))
    elif isinstance(row, list) and _is_tuple(row):
        for i, item in enumerate(row):
            yield from _leaves(item, (*way, i))
    elif isinstance(row, list) and _holds_rows(row):
        for item in row:
            yield from _leaves(item, (*way, None))
    elif isinstance(row, list | str | bytes | np.ndarray):
        yield way, row


def _holds_rows(values: list[Any]) -> bool:
    """Whether a list holds objects, lists or strings rather than numbers."""
    first = next((value for value in values if value is not None), 0.0)
    return not isinstance(first, bool) and as_number(first) is None


def _is_tuple(values: list[Any]) -> bool:
    """Whether a list is a row of a table, such as [text, vector]: one list among other values."""
    lists = [value for value in values if isinstance(value, list)]
    return len(lists) == 1 < len(values) and not any(isinstance(v, dict) for v in values)


def _bytes_refused(rows: Iterable[Any]) -> Iterator[str]:
    seen = {path_name(way): value for row in rows for way, value in _leaves(row, ())}
    for name, value in seen.items():
        if isinstance(value, bytes):
            yield f"{name} holds {why_not([value])}"
