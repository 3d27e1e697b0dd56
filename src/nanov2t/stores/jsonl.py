"""Files of JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nanov2t.core.errors import UserError
from nanov2t.stores.base import ForwardStore, file_fingerprint, pick


class JsonlStore(ForwardStore):
    """JSON objects, one a line, with a list of numbers each; empty lines do not count."""

    suffixes = (".jsonl",)
    forms = ("x.jsonl#KEY",)
    takes_ids = True

    def __init__(self, where: str, key: str, ids: str | None):
        self.path, self.ids = Path(where), ids
        first = last = b""
        count = 0
        for last in self._lines():
            first = first or last
            count += 1
        if not count:
            raise UserError(f"{where}: holds no vectors")
        if not isinstance(_json(last), dict):
            raise UserError(
                f"{where}: its last line is not a JSON object: it may have been cut off"
            )
        head = _json(first)
        if not isinstance(head, dict):
            raise UserError(f"{where}: its first line is not a JSON object")
        if ids and ids not in head:
            raise UserError(f"{where}: no column {ids}, only {', '.join(head)}")
        self.column = pick(where, key, [n for n, value in head.items() if isinstance(value, list)])
        # JSON does not say of a column that all its ids are numbers: they are strings.
        fingerprint = file_fingerprint(self.path)
        self.describe(f"{where}#{self.column}", "json", count, fingerprint, integer_ids=not ids)

    def rows(self) -> Iterator[tuple[Any, Any]]:
        for i, line in enumerate(self._lines()):
            row = _json(line)
            if not isinstance(row, dict):
                yield None if self.ids else i, "not a JSON object"
                continue
            vector = row.get(self.column)
            if isinstance(vector, str):
                vector = "not a list of numbers"
            yield row.get(self.ids) if self.ids else i, vector

    def _lines(self) -> Iterator[bytes]:
        with open(self.path, "rb") as file:
            yield from (line for line in file if not line.isspace())


def _json(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
