"""JSON: a value a line, or one array of objects or of lists."""

from __future__ import annotations

import itertools
import json
from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ijson

from nanov2t.core.errors import UserError
from nanov2t.stores.base import HEAD, ForwardStore, NoRows, file_fingerprint, pick
from nanov2t.stores.text import as_vector, holds_numbers, value_at, vector_paths


class JsonRows(ForwardStore):
    """Rows that are JSON: objects with a list of numbers each, or bare lists of numbers."""

    takes_ids = True

    def __init__(self, where: str, key: str, ids: str | None):
        self.path, self.ids, self.key = Path(where), ids, key
        values = self.values()
        head = list(itertools.islice(values, HEAD))
        count = len(head) + sum(1 for _ in values)
        if not count:
            raise NoRows(where)
        objects = [row for row in head if isinstance(row, dict)]
        self.bare = not objects and any(map(holds_numbers, head))
        if self.bare:
            for wanted in filter(None, (self.key, ids)):
                raise UserError(f"{where}: bare lists have no columns, so no {wanted}")
        else:
            names = list(dict.fromkeys(name for row in objects for name in row))
            if ids and all(value_at(row, ids) is None for row in objects):
                raise UserError(f"{where}: no column {ids}, only {', '.join(names)}")
            paths = vector_paths(objects)
            if names and not paths:
                raise UserError(f"{where}: holds no vectors, only {', '.join(names)}")
            self.key = pick(where, self.key, paths)
        name = f"{where}#{self.key}" if self.key else where
        # JSON does not say of a column that all its ids are numbers: they are strings.
        self.describe(name, "text", count, file_fingerprint(self.path), integer_ids=not ids)

    @abstractmethod
    def values(self) -> Iterator[Any]:
        """All rows; None for one that is not JSON."""

    def rows(self) -> Iterator[tuple[Any, Any]]:
        for row in self.values():
            if isinstance(row, list if self.bare else dict):
                vector = as_vector(row if self.bare else value_at(row, self.key))
                yield value_at(row, self.ids) if self.ids else None, vector
            else:
                yield None, f"not a JSON {'list' if self.bare else 'object'}"


class JsonlStore(JsonRows):
    """A JSON value a line; empty lines do not count."""

    suffixes = (".jsonl", ".ndjson")
    forms = ("x.jsonl#KEY",)

    def values(self) -> Iterator[Any]:
        value: Any = ()
        with open(self.path, "rb") as file:
            for i, line in enumerate(line for line in file if not line.isspace()):
                value = _json(line)
                if i == 0 and value is None:
                    raise UserError(
                        f"{self.path}: its first line is not JSON; one value over many lines is "
                        "read from a .json file"
                    )
                yield value
        if value is None:
            raise UserError(f"{self.path}: its last line is not JSON: it may have been cut off")


class JsonStore(JsonRows):
    """An array of rows, alone or somewhere in an object; or rows one after another."""

    suffixes = (".json",)
    forms = ("x.json#KEY",)

    def __init__(self, where: str, key: str, ids: str | None):
        self.path = Path(where)
        self.prefix, key = self._find_rows(key)
        super().__init__(where, key, ids)

    def values(self) -> Iterator[Any]:
        with open(self.path, "rb") as file:
            yield from ijson.items(file, self.prefix, multiple_values=True, use_float=True)

    def _find_rows(self, key: str) -> tuple[str, str]:
        """Where ijson finds the rows, and what is left of the key within a row.

        An array that begins with an object or a list holds rows, if it is all of the file or stands
        in the one object that is; else every value of the file is a row.
        """
        rows, before, within = ("", key), "", ""
        with open(self.path, "rb") as file:
            events = ijson.parse(file, multiple_values=True, use_float=True)
            for prefix, event, _ in events:
                starts = event in ("start_map", "start_array")
                if within == "start_array" and starts and rows == ("", key) and _leads(before, key):
                    rest = key.removeprefix(before).lstrip(".")
                    rows = f"{before}.item".lstrip("."), rest
                    if not before:
                        return rows
                if event in ("end_map", "end_array") and not prefix:
                    break  # the first value is over
                before, within = prefix, event
            return rows if next(events, None) is None else ("", key)


def _leads(path: str, key: str) -> bool:
    """Whether an array at this path may be meant: the key is it, or goes on from it."""
    return not key or not path or f"{key}.".startswith(f"{path}.")


def _json(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
