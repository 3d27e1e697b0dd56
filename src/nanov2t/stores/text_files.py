"""Text files: JSON, and vectors after their words as word2vec and GloVe write them."""

import codecs
import json
import re
from collections import Counter
from collections.abc import Iterator
from itertools import islice, takewhile
from pathlib import Path
from typing import IO, Any, ClassVar

import ijson

from nanov2t.core.errors import UserError
from nanov2t.stores.base import HEAD, NoRows, Store
from nanov2t.stores.values import (
    NPY,
    PICKLE,
    USUAL_NAMES,
    Found,
    Way,
    check_ids,
    choose,
    leaves,
    pick,
    values_at,
    vectors_in,
    way_to,
)

BOM = b"\xef\xbb\xbf"
BROKEN = object()  # stands for a line that is not JSON
ACTIONS = {"index", "create", "update", "delete"}  # of Elasticsearch, each before its document
EVENTS = 2**17  # parts of a value that show its shape at first; doubled until they hold vectors
KEPT = 64  # elements of each list and object that show its shape
NOT_JSON = re.compile(rb"(?<=[\[,:\s])(NaN|-?Infinity)(?=[\s,\]}])")
MAGIC = {"gzip": b"\x1f\x8b", "bzip2": b"BZh", "xz": b"\xfd7zXZ", "zstd": b"\x28\xb5\x2f\xfd"}
MAGIC |= {".parquet": b"PAR1", ".feather": b"ARROW1", ".npy": NPY, ".h5": b"\x89HDF"}
MAGIC |= {".sqlite": b"SQLite format 3", "zip": b"PK\3\4"}  # how files of some formats begin
CONTROL = re.compile(rb"[\0-\x08\x0e-\x1f]")  # bytes that text does not hold


class JsonlStore(Store):
    """A JSON document on each line, possibly in a bulk file of Elasticsearch."""

    forms: ClassVar[tuple[str, ...]] = ("x.jsonl#KEY", "x.ndjson#KEY")
    takes_ids = True
    own_ids = "those of the file, or row numbers"
    within: Way = ()  # from the value of the file to the documents
    id_way: Way | None = None

    def __init__(self, where: str, key: str, ids: str | None):
        self.path, self.ids = Path(where), ids
        check_encoding(self.path)
        key, way, self.decode = self.find(key)
        self.way = way[len(self.within) :]
        if ids:
            found = leaves(document for _, document in islice(self.documents(), HEAD))
            ways = [way_to(way, ids) for way, _ in found.values()]
            self.id_way = next((way for way in ways if way is not None), None)
            if self.id_way is None:
                check_ids(where, ids, filter(None, found))
        count = sum(len(values_at(document, self.way)) or 1 for _, document in self.documents())
        name = f"{where}#{key}" if key else where
        # Ids are strings, since JSON does not declare that all are integers.
        integers = not ids and not self.keeps_ids
        self.describe(name, self.decode.kind, count, integers)

    def rows(self) -> Iterator[tuple[Any, Any]]:
        for own, document in self.documents():
            vectors: list[Any] = [*map(self.decode, values_at(document, self.way))] or [None]
            if document is BROKEN:
                vectors = ["not a JSON object"]
            ids = [own] if self.id_way is None else values_at(document, self.id_way)
            if len(ids) != len(vectors):
                ids = ids * len(vectors) if len(ids) == 1 else [None] * len(vectors)
            yield from zip(ids, vectors, strict=True)

    def find(self, key: str) -> Found:
        """The vectors that a key means."""
        head = [document for _, document in islice(self.documents(), HEAD)]
        if not head:
            raise NoRows(str(self.path))
        return choose(str(self.path), head, key)

    def documents(self) -> Iterator[tuple[Any, Any]]:
        """All documents, each after the id that the file gives it."""
        bulk, own, value = False, None, None
        with open(self.path, "rb") as file:
            for i, line in enumerate(line for line in file if not line.isspace()):
                try:
                    value = json.loads(line if i else line.removeprefix(BOM))
                except (ValueError, RecursionError):
                    value = BROKEN
                    if i == 0:
                        said = "its first line is not JSON: if it is one value, name it .json"
                        raise UserError(f"{self.path}: {said}") from None
                action = _action(value) if bulk or i == 0 else None
                if action is None:
                    yield own, value
                else:
                    bulk, own = True, action.get("_id")
                    self.keeps_ids |= own is not None
        if value is BROKEN:
            raise UserError(f"{self.path}: its last line is not JSON: it may have been cut off")


class JsonStore(JsonlStore):
    """Documents or vectors in a list or in an object by their ids, or one after another."""

    forms = ("x.json#KEY",)

    def documents(self) -> Iterator[tuple[str | None, Any]]:
        prefix = ".".join("item" if part is None else str(part) for part in self.within)
        read = ijson.kvitems if self.keeps_ids else ijson.items
        with open(self.path, "rb") as file:
            found = read(Mended(file), prefix, multiple_values=True, use_float=True)
            yield from found if self.keeps_ids else ((None, document) for document in found)

    def find(self, key: str) -> Found:
        failed: UserError = NoRows(str(self.path))
        for values, is_all in self._beginnings():
            try:
                if len(values) > 1:
                    return choose(str(self.path), values, key)
                if (found := self._find_by_id(values[0], key)) is None:
                    found = choose(str(self.path), values, key, in_lists=True)
                    way = found[1]
                    within = way[: way.index(None) + 1] if None in way else ()
                    self.within = () if any(isinstance(part, int) for part in within) else within
                if self.within or is_all:
                    return found
            except UserError as error:  # they may come later
                failed = error
        raise failed

    def _find_by_id(self, value: Any, key: str) -> Found | None:
        """The vectors of the first object whose values are vectors, or documents with vectors."""
        for way, documents in _by_id(value, ()):
            name = ".".join(map(str, way))
            rest = key.removeprefix(name).removeprefix(".")
            known = not rest or rest in vectors_in(documents)
            if not key or (key.startswith(name) and known):
                self.within, self.keeps_ids = way, True
                chosen, inner, decode = choose(str(self.path), documents, rest)
                return ".".join(filter(None, (name, chosen))), (*way, *inner), decode
        return None

    def _beginnings(self) -> Iterator[tuple[list[Any], bool]]:
        """More and more of the file's values, cut to `KEPT` elements, and whether that is all."""
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
    """A file without its byte-order mark, and with null for NaN and Infinity."""

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


def _by_id(value: Any, way: Way) -> Iterator[tuple[Way, list[Any]]]:
    """The objects whose values are all vectors, or documents with vectors at the same places."""
    if not isinstance(value, dict):
        return
    values = list(value.values())
    places = (vectors_in([v]).values() for v in values if v is not None)
    alike = {frozenset(way for way, _ in found) for found in places}
    if len(values) > 1 and len(alike) == 1 and not {*value} & {*USUAL_NAMES}:
        [ways] = alike
        if ways and not any(None in way for way in ways):
            yield way, values
            return
    for key, inner in value.items():
        yield from _by_id(inner, (*way, key))


def _action(value: Any) -> dict[str, Any] | None:
    """The arguments of an action on a document in a bulk file; None if a line is no action."""
    if not isinstance(value, dict) or len(value) != 1 or not ACTIONS & {*value}:
        return None
    [said] = value.values()
    plain = isinstance(said, dict) and not any(isinstance(v, dict | list) for v in said.values())
    return ({} if "delete" in value else said) if plain else None


class WordStore(Store):
    """Lines of numbers, alone or after a word. The first line may hold their number and
    dimension."""

    forms = ("x.vec", "x.txt")
    own_ids = "the words, or row numbers"

    def __init__(self, where: str, key: str, ids: str | None):
        self.path = Path(where)
        pick(where, key, [""])
        check_encoding(self.path)
        head = [line.split() for line in islice(self._lines(), HEAD)]
        if not head:
            raise NoRows(where)
        sizes, counts = list(map(len, head)), head[0]
        self.has_counts = sizes[0] == 2 and sizes[1:2] != [2] and all(map(str.isdigit, counts))
        if self.has_counts:
            head, self.numbers = head[1:], int(counts[1])
        else:
            ends = Counter(len([*takewhile(is_number, cells[::-1])]) for cells in head)
            [(self.numbers, _)] = ends.most_common(1)
        if not self.numbers:
            raise UserError(f"{where}: its lines hold no vectors")
        self.keeps_ids = any(len(cells) > self.numbers for cells in head)
        count = sum(1 for _ in self._lines()) - self.has_counts
        if self.has_counts and counts[0] != str(count):
            said = f"holds {count} rows, not {counts[0]}: it may have been cut off"
            raise UserError(f"{where}: {said}")
        self.describe(where, "text", count, not self.keeps_ids)

    def rows(self) -> Iterator[tuple[Any, Any]]:
        for line in islice(self._lines(), self.has_counts, None):
            # A word may hold spaces.
            cells = line.rsplit(maxsplit=self.numbers) if self.keeps_ids else ["", *line.split()]
            yield cells[0], cells[1:]

    def _lines(self) -> Iterator[str]:
        line = b"\n"
        with open(self.path, "rb") as file:
            for line in file:
                if not line.isspace():
                    yield line.decode("utf-8-sig", "replace")
        if not line.endswith(b"\n"):
            raise UserError(f"{self.path}: its last line has no end: it may have been cut off")


def is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def what_it_is(path: Path) -> str:
    """What a file is and what would help; empty if its first bytes do not say."""
    first = _start(path)
    if PICKLE.match(first):
        return "a pickle, which may run code and is not opened"
    for name, magic in MAGIC.items():
        if first.startswith(magic):
            renamed = f"a {name} file under another name: rename it"
            return renamed if name[0] == "." else f"compressed by {name}: unpack it first"
    return "a binary file of no known format" if CONTROL.search(first) else ""


def check_encoding(path: Path) -> None:
    """Refuse a text file that does not start as UTF-8."""
    first = _start(path)
    if first.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in first[:4]:
        raise UserError(f"{path}: in UTF-16: convert it by iconv -f UTF-16 -t UTF-8")
    if CONTROL.search(first):
        raise UserError(f"{path}: {what_it_is(path)}, not text")
    try:
        codecs.getincrementaldecoder("utf-8")().decode(first)  # its end may cut a letter in two
    except UnicodeDecodeError:
        said = "perhaps in Latin-1, not UTF-8: convert it by iconv -f LATIN1 -t UTF-8"
        raise UserError(f"{path}: {said}") from None


def _start(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(2**16)
