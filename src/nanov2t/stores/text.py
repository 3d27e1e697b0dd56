"""Vectors written as text, and where they stand in what JSON holds."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import numpy as np

BRACKETS = ("[]", "()", "{}")
"""Of lists of numbers: JSON's, Python's, and PostgreSQL's."""


def parse_vector(text: str) -> list[float] | np.ndarray | str:
    """The numbers of a list in brackets, between commas or, as numpy prints them, spaces; else a
    string that says why there are none."""
    text = text.strip()
    if text[:1] + text[-1:] not in BRACKETS:
        return "not a list of numbers"
    if "..." in text:
        return "printed in short: numbers are left out of it"
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        try:
            return np.array(text[1:-1].replace(",", " ").split(), np.float64)
        except ValueError:
            return "not a list of numbers"
    return values if isinstance(values, list) else "not a list of numbers"


def as_vector(value: Any) -> Any:
    """What stands in place of a vector: a list, the list that a string holds, None, or a string
    that says what is wrong."""
    if isinstance(value, str):
        return parse_vector(value)
    return value if value is None or isinstance(value, list) else "not a list of numbers"


def value_at(row: Any, path: str) -> Any:
    """What stands at a path such as `data.embedding`; None where nothing does."""
    if isinstance(row, dict) and path in row:
        return row[path]
    for key in path.split("."):
        row = row.get(key) if isinstance(row, dict) else None
    return row


def vector_paths(rows: Iterable[Any]) -> list[str]:
    """The paths in JSON objects at which lists of numbers stand, or strings that hold them."""
    return list(dict.fromkeys(path for row in rows for path in _paths(row, "")))


def _paths(row: Any, prefix: str) -> list[str]:
    found = []
    for key, value in row.items() if isinstance(row, dict) else ():
        if isinstance(value, dict):
            found += _paths(value, f"{prefix}{key}.")
        elif holds_numbers(value):
            found.append(prefix + key)
    return found


def holds_numbers(value: Any) -> bool:
    """Whether something is a list that begins with a number, or a string of one."""
    if isinstance(value, str) and value.strip()[:1] in ("[", "(", "{"):
        value = parse_vector(value)
    return (
        isinstance(value, list | np.ndarray)
        and len(value) > 0
        and isinstance(value[0], int | float)
        and not isinstance(value[0], bool)
    )
