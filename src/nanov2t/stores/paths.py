"""Where vectors stand in nested values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from nanov2t.stores.values import Decoder, as_number, decoder_of, why_not

Way = tuple[str | int | None, ...]
"""The way down to a value: keys of objects, and places in lists, None for all of a list."""


def vector_paths(rows: Iterable[Any]) -> dict[str, tuple[Way, Decoder]]:
    """Where vectors stand in nested values, by names such as `response.body.data.embedding`."""
    seen: dict[str, tuple[Way, list[Any]]] = {}
    for row in rows:
        for path, value in _leaves(row, ()):
            seen.setdefault(path_name(path), (path, []))[1].append(value)
    return {
        name: (path, decoder)
        for name, (path, values) in seen.items()
        if (decoder := decoder_of(values)) is not None
    }


def bytes_refused(rows: Iterable[Any]) -> Iterator[str]:
    """The columns of bytes that are no vectors, and why."""
    seen = {path_name(path): value for row in rows for path, value in _leaves(row, ())}
    for name, value in seen.items():
        if isinstance(value, bytes):
            yield f"{name} holds {why_not([value])}"


def path_name(path: Way) -> str:
    return ".".join(str(part) for part in path if part is not None)


def path_to(row: Any, name: str) -> Way | None:
    """The path that a name means, such as `data[0].embedding` or `data.embedding`; None if there is
    no such. Keys may hold any character."""
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


def values_at(row: Any, path: Way) -> list[Any]:
    """What stands at a path: one value, several where it leads through lists, or none."""
    if not path:
        return [row]
    part, rest = path[0], path[1:]
    if isinstance(row, list):
        if isinstance(part, int):
            return values_at(row[part], rest) if part < len(row) else []
        return [value for item in row for value in values_at(item, rest if part is None else path)]
    if part is None:
        return values_at(row, rest)
    return values_at(row[part], rest) if isinstance(row, dict) and part in row else []


def _leaves(row: Any, path: Way) -> Iterator[tuple[Way, Any]]:
    """What may hold vectors, with the ways there."""
    if isinstance(row, dict):
        sparse = {"indices", "values"} <= row.keys()
        for key, value in row.items() if not sparse else ():
            yield from _leaves(value, (*path, key))
    elif isinstance(row, list) and _is_tuple(row):
        for i, item in enumerate(row):
            yield from _leaves(item, (*path, i))
    elif isinstance(row, list) and _holds_rows(row):
        for item in row:
            yield from _leaves(item, (*path, None))
    elif isinstance(row, list | str | bytes | np.ndarray):
        yield path, row


def _holds_rows(values: list[Any]) -> bool:
    """Whether a list is none of numbers, but of objects, lists or strings that may hold vectors."""
    first = next((value for value in values if value is not None), 0.0)
    return not isinstance(first, bool) and as_number(first) is None


def _is_tuple(values: list[Any]) -> bool:
    """Whether a list is a row of a table, such as [text, vector]: one list, and what is none."""
    lists = [value for value in values if isinstance(value, list)]
    return len(lists) == 1 < len(values) and not any(isinstance(v, dict) for v in values)
