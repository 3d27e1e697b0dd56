"""Files of JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nanov2t.core.errors import UserError
from nanov2t.stores.base import Source, file_fingerprint, forward, make, pick


def read_jsonl(path: Path, key: str, ids: str | None) -> Source:
    def lines() -> Iterator[bytes]:
        with open(path, "rb") as file:
            yield from (line for line in file if not line.isspace())

    first = last = b""
    count = 0
    for last in lines():
        first = first or last
        count += 1
    if not count:
        raise UserError(f"{path}: holds no vectors")
    if not isinstance(_json(last), dict):
        raise UserError(f"{path}: its last line is not a JSON object: it may have been cut off")
    head = _json(first)
    if not isinstance(head, dict) or (ids and ids not in head):
        raise UserError(
            f"{path}: its first line is not a JSON object{f' with {ids}' if ids else ''}"
        )
    column = pick(str(path), key, [name for name, value in head.items() if isinstance(value, list)])

    def rows() -> Iterator[tuple]:
        for i, line in enumerate(lines()):
            row = _json(line)
            if not isinstance(row, dict):
                yield None if ids else i, "not a JSON object"
                continue
            vector = row.get(column)
            yield (
                row.get(ids) if ids else i,
                "not a list of numbers" if isinstance(vector, str) else vector,
            )

    # JSON does not say of a column that all its ids are numbers: they are strings.
    return make(f"{path}#{column}", "json", count, file_fingerprint(path), forward(rows), not ids)


def _json(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
