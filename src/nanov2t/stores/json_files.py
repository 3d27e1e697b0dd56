"""JSON files, of one value a line or of one value."""

from __future__ import annotations

import json
import re
from abc import abstractmethod
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any

import ijson

from nanov2t.core.errors import UserError
from nanov2t.core.files import file_fingerprint
from nanov2t.stores.base import HEAD, ForwardStore, NoRows
from nanov2t.stores.choosing import (
    USUAL_NAMES,
    Way,
    choose,
    listed,
    path_name,
    path_to,
    values_at,
    vector_paths,
)
from nanov2t.stores.text_files import check_encoding
from nanov2t.stores.values import Decoder

BOM = b"\xef\xbb\xbf"
BROKEN = object()
"""Stands for a line that is not JSON."""
ACTIONS = {"index", "create", "update", "delete"}
"""Actions of Elasticsearch's bulk files, on the line before their document."""
EVENTS = 2**17
"""Parts of a value that show its shape at first; doubled until they hold vectors."""
KEPT = 64
"""Elements of each list and object that show its shape."""
NOT_JSON = re.compile(rb"(?<=[\[,:\s])(NaN|-?Infinity)(?=[\s,\]}])")

Found = tuple[str, Way, Decoder]
"""The name of vectors, the way there from the value of the file or line, and their decoder."""


class JsonRows(ForwardStore):
    """Documents that hold a vector each, or lists of vectors."""

    takes_ids = True
    own_ids = "those of the file, or row numbers"
    within: Way = ()
    """The way from the value of the file to the documents."""

    def __init__(self, where: str, key: str, ids: str | None):
        self.path, self.ids = Path(where), ids
        check_encoding(self.path)
        key, way, self.decode = self.find(key)
        self.way = way[len(self.within) :]
        if ids:
            self.id_way = self._find_ids(ids)
        count = sum(len(values_at(document, self.way)) or 1 for _, document in self.documents())
        name = f"{where}#{key}" if key else where
        # Ids are strings, since JSON does not declare that all are integers.
        integers = not ids and not self.keeps_ids
        self.describe(name, self.decode.kind, count, file_fingerprint(self.path), integers)

    @abstractmethod
    def find(self, key: str) -> Found:
        """The vectors that a key means."""

    @abstractmethod
    def documents(self) -> Iterator[tuple[str | None, Any]]:
        """All documents, each after the id that the file gives it."""

    def rows(self) -> Iterator[tuple[Any, Any]]:
        for own, document in self.documents():
            vectors: list[Any] = [*map(self.decode, values_at(document, self.way))] or [None]
            if document is BROKEN:
                vectors = ["not a JSON object"]
            ids = values_at(document, self.id_way) if self.ids else [own]
            if len(ids) != len(vectors):
                ids = ids * len(vectors) if len(ids) == 1 else [None] * len(vectors)
            yield from zip(ids, vectors, strict=True)

    def _find_ids(self, name: str) -> Way:
        head = [document for _, document in islice(self.documents(), HEAD)]
        for document in head:
            if (way := path_to(document, name)) is not None:
                return way
        names = list(dict.fromkeys(n for d in head if isinstance(d, dict) for n in d))
        if not names:
            raise UserError(f"{self.path}: has no columns to take ids from")
        raise UserError(f"{self.path}: no column {name}, only {listed(names)}")


class JsonlStore(JsonRows):
    """A JSON value on each line, possibly an action of Elasticsearch. Empty lines do not count."""

    suffixes = (".jsonl", ".ndjson")
    forms = ("x.jsonl#KEY",)

    def find(self, key: str) -> Found:
        head = [document for _, document in islice(self.documents(), HEAD)]
        if not head:
            raise NoRows(str(self.path))
        return choose(str(self.path), head, key, vector_paths(head))

    def documents(self) -> Iterator[tuple[str | None, Any]]:
        bulk, own, value = False, None, None
        with open(self.path, "rb") as file:
            for i, line in enumerate(line for line in file if not line.isspace()):
                value = _json(line if i else line.removeprefix(BOM))
                if i == 0 and value is BROKEN:
                    raise UserError(
                        f"{self.path}: its first line is not JSON; one value over many lines is "
                        "read from a .json file"
                    )
                action = _action(value) if bulk or i == 0 else None
                if action is not None:
                    bulk, own = True, action.get("_id")
                    self.keeps_ids |= own is not None and "delete" not in value
                else:
                    yield own, value
        if value is BROKEN:
            raise UserError(f"{self.path}: its last line is not JSON: it may have been cut off")


class JsonStore(JsonRows):
    """One value that holds documents or vectors: in a list; in an object, by id; or a document
    alone. Or documents one after another."""

    suffixes = (".json",)
    forms = ("x.json#KEY",)

    def documents(self) -> Iterator[tuple[str | None, Any]]:
        prefix = ".".join("item" if part is None else str(part) for part in self.within)
        with open(self.path, "rb") as file:
            options = {"multiple_values": True, "use_float": True}
            if self.keeps_ids:
                yield from ijson.kvitems(Mended(file), prefix, **options)
            else:
                for document in ijson.items(Mended(file), prefix, **options):
                    yield None, document

    def find(self, key: str) -> Found:
        failed: UserError = NoRows(str(self.path))
        for values, is_all in self._beginnings():
            if len(values) > 1:
                return choose(str(self.path), values, key, vector_paths(values))
            try:
                found = self._find_by_key(values[0], key) or self._find_in_list(values[0], key)
                if self.within or is_all:
                    return found
            except UserError as error:  # they may come later
                failed = error
        raise failed

    def _find_in_list(self, value: Any, key: str) -> Found:
        """The vectors of a value, preferably those in a list."""
        found = vector_paths([value])
        listed = {name: way for name, way in found.items() if None in way[0]}
        key, way, decode = choose(str(self.path), [value], key, listed or found)
        if None in way:
            within = way[: way.index(None) + 1]
            self.within = within if not any(isinstance(part, int) for part in within) else ()
        return key, way, decode

    def _find_by_key(self, value: Any, key: str) -> Found | None:
        """The vectors of the first object whose values are vectors, or documents with vectors."""
        for way, documents in _by_key(value, ()):
            name, found = path_name(way), vector_paths(documents)
            rest = key.removeprefix(name).removeprefix(".")
            if not key or (key.startswith(name) and (not rest or rest in found)):
                self.within, self.keeps_ids = way, True
                chosen, inner, decode = choose(str(self.path), documents, rest, found)
                return ".".join(filter(None, (name, chosen))), (*way, *inner), decode
        return None

    def _beginnings(self) -> Iterator[tuple[list[Any], bool]]:
        """More and more of the file's values, cut to :data:`KEPT` elements, and whether the file
        ends there."""
        values: list[Any] = []
        parents: list[Any] = [values]
        key, limit = "", EVENTS
        with open(self.path, "rb") as file:
            events = ijson.basic_parse(Mended(file), multiple_values=True, use_float=True)
            for i, (event, value) in enumerate(events):
                if event == "map_key":
                    key = value
                elif event.startswith("end"):
                    parents.pop()
                else:
                    new = {"start_map": {}, "start_array": []}.get(event, value)
                    if len(parents[-1]) < KEPT and isinstance(parents[-1], list):
                        parents[-1].append(new)
                    elif len(parents[-1]) < KEPT:
                        parents[-1][key] = new
                    if event.startswith("start"):
                        parents.append(new)
                if i == limit:
                    yield values, False
                    limit *= 2
        if values:
            yield values, True


class Mended:
    """A file without its byte-order mark, and with null for NaN and Infinity, which are not
    JSON."""

    def __init__(self, file: IO[bytes]):
        self.file, self.rest = file, file.read(3).removeprefix(BOM)

    def read(self, size: int) -> bytes:
        if not size:
            return b""
        more = self.file.read(size)
        content, self.rest = self.rest + more, b""
        if more and (comma := content.rfind(b",")) > 0:  # a number may be cut in two
            content, self.rest = content[:comma], content[comma:]
        return NOT_JSON.sub(b"null", content) if b"N" in content or b"I" in content else content


def _by_key(value: Any, way: Way) -> Iterator[tuple[Way, list[Any]]]:
    """The objects whose values are all vectors, or documents with vectors at the same places."""
    if not isinstance(value, dict):
        return
    values = list(value.values())
    alike = {
        frozenset(way for way, _ in vector_paths([v]).values()) for v in values if v is not None
    }
    if len(values) > 1 and len(alike) == 1 and not {*value} & {*USUAL_NAMES}:
        [ways] = alike
        if ways and not any(None in way for way in ways):
            yield way, values
            return
    for key, inner in value.items():
        yield from _by_key(inner, (*way, key))


def _action(value: Any) -> dict[str, Any] | None:
    """The arguments of an action in a bulk file; None if a line is not an action."""
    if not isinstance(value, dict) or len(value) != 1 or not ACTIONS & {*value}:
        return None
    [said] = value.values()
    plain = isinstance(said, dict) and not any(isinstance(v, dict | list) for v in said.values())
    return said if plain else None


def _json(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return BROKEN
