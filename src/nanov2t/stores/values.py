"""Vectors in values: decoding them, finding them in nested values, and choosing one by its name.

A value may be a list of numbers, also as strings or wrapped as in {"N": "0.1"}; such a list as
JSON, NumPy, torch or PostgreSQL print it; raw floats or int8; `np.save`; base64 of float32.
"""

import base64
import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from nanov2t.core.errors import UserError, did_you_mean, first_line

NOT_NUMBERS = "not a list of numbers"
COMMAS = "numbers with decimal commas: save them with decimal points"
LOOKED_AT = 64  # values of a column that show how it is decoded
FLOATS = ("<f4", "<f8", "<f2", ">f4", ">f8", ">f2")  # types of raw bytes, the commonest first
NPY = b"\x93NUMPY"
PICKLE = re.compile(rb"\x80[\x02-\x05][\x95cK}()\]qX\x8c]")  # a protocol, and an instruction
BSON_FLOATS = b"\x27\0"  # the start of MongoDB's float32 vectors
BASE64 = re.compile(r"[A-Za-z0-9+/]{40,}={0,2}")
BARE = 8  # fewest numbers of a list without brackets: a few could be anything, such as 0,5
BRACKETS = ("[]", "()", "{}")
CALL = re.compile(r"[A-Za-z_][\w.]*\(([^()]*)\)")  # tensor([0.1, 0.2]) or np.float32(0.1)
ARGUMENT = re.compile(r",\s*[a-z_]+=.*", re.DOTALL)  # its other arguments: , dtype=float32
USUAL_NAMES: tuple[str, ...] = ("vector", "embedding", "vectors", "embeddings", "values", "emb")
USUAL_NAMES += ("dense_vector", "sentence_embedding", "vec")
"""Names of vectors: the first one that exists is read without a `#`."""
LISTED = 16  # names that a message lists

Way = tuple[str | int | None, ...]
"""The way down to a value: keys of objects and indices of lists, None for every item of a list."""


@dataclass(frozen=True)
class Decoder:
    """Turns a value into its numbers [dim], None into None, and what is no vector into the
    reason."""

    kind: str  # the type of the numbers: `text`, or one of NumPy's
    raw: np.dtype[Any] | None = None  # the type of raw bytes

    def __call__(self, value: Any) -> np.ndarray | str | None:
        if value is None:
            return None
        if self.raw is not None and (content := _content(value)) is not None:
            if len(content) % self.raw.itemsize:
                return f"{len(content)} bytes, not numbers of {self.kind}"
            return np.frombuffer(content, self.raw)
        if isinstance(value, str):
            return _printed(value)
        if not isinstance(value, bytes):
            return _numbers(value)
        if PICKLE.match(value):
            return "a pickle, which may run code and is not opened"
        if not value.startswith(NPY):
            return _printed(value.decode("utf-8", "replace"))
        try:
            return _numbers(np.lib.format.read_array(io.BytesIO(value), allow_pickle=False))
        except (ValueError, EOFError) as error:
            return f"not an array: {first_line(error)}"


def decoder_of(values: Iterable[Any]) -> Decoder | str:
    """The decoder for a column, from its first values; or why they hold no vectors."""
    sample = list(islice((value for value in values if value is not None), LOOKED_AT))
    if not sample:
        return "missing"
    if blobs := [content for value in sample if (content := _content(value)) is not None]:
        raw = _type_of(blobs, encoded=any(isinstance(value, str) for value in sample))
        said = f"{len(blobs[0])} bytes a row, which are neither floats nor int8 of an embedding"
        return said if raw is None else Decoder(raw.name, raw)
    found = list(map(Decoder("text"), sample))
    stored = isinstance(sample[0], bytes) and sample[0].startswith(NPY)
    arrays = (value for value in found if isinstance(value, np.ndarray))
    kinds = (array.dtype.name if stored else "text" for array in arrays)
    return next(map(Decoder, kinds), str(found[0]))


def _printed(text: str) -> np.ndarray | str:
    """The numbers of a printed list, between commas or spaces, and possibly in a call."""
    text = text.strip()
    if (text[-1:] == ")" and text[:1].isalpha()) or "np." in text:
        text = ARGUMENT.sub("", CALL.sub(r"\1", CALL.sub(r"\1", text))).strip()
    if re.fullmatch(r"-?\d*,\d+(e[-+]?\d+)?", text):
        return COMMAS
    if text[:1] + text[-1:] not in BRACKETS:
        numbers, fewest = text.split("," if "," in text else None), BARE
    elif "..." in text:
        return "abbreviated: it was printed with ... in place of numbers"
    else:
        with suppress(ValueError, RecursionError):
            return _numbers(json.loads(text))
        numbers, fewest = re.sub("[,'\"]", " ", text.strip("[](){} \n\t")).split(), 1
    try:
        found = np.array(numbers, np.float64)
    except ValueError:
        return NOT_NUMBERS
    return found if len(found) >= fewest else NOT_NUMBERS


def _number(value: Any) -> float | None:
    """The number in a string or in an object such as {"$numberDouble": "0.1"}, or None."""
    while isinstance(value, dict) and len(value) == 1:
        [value] = value.values()
    if value is None:
        return np.nan
    try:
        return None if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _numbers(value: Any) -> np.ndarray | str:
    """The numbers of a list, or of the only list in it."""
    try:
        found = np.array(value)
    except (ValueError, OverflowError):  # its rows differ in length
        return NOT_NUMBERS
    while found.ndim > 1 and len(found) == 1:
        found = found[0]
    if found.ndim > 1:
        return f"{len(found)} lists of numbers, not one"
    if found.ndim and found.dtype.kind in "UO":
        numbers = list(map(_number, found))
        if None in numbers:
            return COMMAS if any("," in str(item) for item in found) else NOT_NUMBERS
        found = np.array(numbers, np.float64)
    return found if found.ndim and found.dtype.kind in "fiu" and len(found) else NOT_NUMBERS


def _content(value: Any) -> bytes | None:
    """The raw bytes of numbers, also from base64; None if a value is text or names its format."""
    if isinstance(value, str):
        if len(value) % 4 or not BASE64.fullmatch(value):
            return None
        value = base64.b64decode(value)
    if not isinstance(value, bytes):
        return None
    if value.startswith(BSON_FLOATS) and len(value) % 4 == 2:
        value = value[2:]
    is_text = value.isascii() and value.decode("ascii").isprintable()
    return None if is_text or value.startswith(NPY) or PICKLE.match(value) else value


def _type_of(blobs: list[bytes], encoded: bool) -> np.dtype[Any] | None:
    """The type of the numbers in blobs: of the floats that look like an embedding, the one with the
    fewest zeros, since half of a wide number of few digits reads as zero."""
    likely: list[tuple[float, str]] = []
    for kind in FLOATS[:1] if encoded else FLOATS:
        whole = [blob for blob in blobs if blob.strip(b"\0") and len(blob) % int(kind[2]) == 0]
        numbers = np.frombuffer(b"".join(whole), kind)
        if 2 * len(whole) >= len(blobs) and _like_an_embedding(numbers):
            likely.append((float((numbers == 0).mean()), kind))
    if likely:
        return np.dtype(min(likely, key=lambda found: found[0])[1])
    return np.dtype(np.int8) if not encoded and _like_int8(blobs) else None


def _like_an_embedding(numbers: np.ndarray) -> bool:
    """Whether numbers have the size and spread of an embedding's. Bytes read as the wrong type
    scatter over most exponents."""
    with np.errstate(all="ignore"):
        sizes = np.abs(numbers[np.isfinite(numbers)].astype(np.float64))
        logs = np.log2(sizes[sizes > 0])
    if len(sizes) < 0.9 * len(numbers) or not len(logs):
        return False
    # Not the standard deviation: MiniLM has a number of 1e-33 in every vector.
    middle = np.median(logs)
    return bool(-20 < middle < 8 and np.abs(logs - middle).mean() < 3)


def _like_int8(blobs: list[bytes]) -> bool:
    """Whether bytes are mostly small as int8, and as often negative as positive, unlike hashes,
    compressed data, text and uint8 with an offset."""
    numbers = np.frombuffer(b"".join(blobs), np.int8)
    small = numbers[np.abs(numbers.astype(np.int16)) < 64]
    positive, negative = np.count_nonzero(small > 0), np.count_nonzero(small < 0)
    chance = 2 / np.sqrt(len(numbers) or 1)  # four deviations of a hash's share, which is a half
    mostly = len(small) > (0.5 + chance) * len(numbers)
    return bool(mostly and positive < 2 * negative < 4 * positive)


Found = tuple[str, Way, Decoder]
"""The name of vectors, the way there from the value of a file or row, and their decoder."""


class Choice(UserError):
    """A store holds several arrays or columns of vectors, and the key does not say which."""

    def __init__(self, said: str, names: list[str]):
        super().__init__(f"{said}: {listed(names)}")
        self.names = names


def listed(names: Sequence[str]) -> str:
    more = [f"and {len(names) - LISTED} more"] if len(names) > LISTED + 1 else []
    return ", ".join([*names[:LISTED], *more] if more else names)


def check_ids(name: str, ids: str | None, columns: Iterable[str]) -> None:
    """Refuse a column of ids that does not exist."""
    columns = list(columns)
    if ids and ids not in columns:
        said = f"no column {ids}, only {listed(columns)}" if columns else "has no columns of ids"
        raise UserError(f"{name}: {said}")


def pick(name: str, key: str, names: Iterable[str]) -> str:
    """The name that a key means: itself, or the only or a usual one of those within it. Without
    such a name, raise a :class:`Choice`."""
    names = list(names)
    if not names:
        raise UserError(f"{name}: holds no vectors")
    if key in names:
        return key
    if key and (within := [n for n in names if n.startswith(f"{key}.")]):
        return pick(name, "", within)
    if names == [""]:
        raise UserError(f"{name}: its vectors have no name, so no {key}")
    if key:
        hint = did_you_mean(key, names) or "."
        raise Choice(f"{name}: no vectors {key} in it{hint} Choose after a #", names)
    ends = ([n for n in names if n.endswith(f".{usual}")] for usual in USUAL_NAMES)
    usual = [n for n in USUAL_NAMES if n in names] + [end[0] for end in ends if len(end) == 1]
    if not usual and len(names) > 1:
        raise Choice(f"{name}: which vectors? Choose one after a #", names)
    return (usual or names)[0]


def split_key(key: str, names: Iterable[str]) -> tuple[str, str]:
    """A key's table or collection, which may hold dots, and what follows the dot after it."""
    name = max((n for n in names if f"{key}.".startswith(f"{n}.")), key=len, default=key)
    return name, key[len(name) + 1 :]


def choose(name: str, rows: Sequence[Any], key: str, in_lists: bool = False) -> Found:
    """The name, way and decoder of the vectors that a key means in nested values, as :func:`pick`.
    With `in_lists`, vectors that are items of a list come first."""
    values, found = leaves(rows), vectors_in(rows)
    if in_lists:
        found = {n: way for n, way in found.items() if None in way[0]} or found
    if key and key not in found:
        for place, _ in values.values():
            if (way := way_to(place, key)) is not None:
                decoder = decoder_of(value for row in rows for value in values_at(row, way))
                if isinstance(decoder, str):
                    raise UserError(f"{name}: {key} holds no vectors: {decoder}")
                return key, way, decoder
    if not found:
        for n, (_, cells) in values.items():
            if (why := decoder_of(cells)) not in (NOT_NUMBERS, "missing"):
                raise UserError(f"{name}: {n} holds {why}")
        said = f"no vectors {key} in it" if key else "holds no vectors"
        names = listed([n for n in values if n])
        raise UserError(f"{name}: {said}{', only ' * bool(names)}{names}")
    key = pick(name, key, found)
    return (key, *found[key])


def vectors_in(rows: Iterable[Any]) -> dict[str, tuple[Way, Decoder]]:
    """The vectors in nested values, by name."""
    decoders = {name: (way, decoder_of(cells)) for name, (way, cells) in leaves(rows).items()}
    return {n: (way, found) for n, (way, found) in decoders.items() if isinstance(found, Decoder)}


def leaves(rows: Iterable[Any]) -> dict[str, tuple[Way, list[Any]]]:
    """All values at the end of each way, and the way, by names such as `response.body.data`."""
    found: dict[str, tuple[Way, list[Any]]] = {}
    for row in rows:
        for way, value in _leaves(row, ()):
            name = ".".join(str(part) for part in way if part is not None)
            found.setdefault(name, (way, []))[1].append(value)
    return found


def way_to(way: Way, key: str) -> Way | None:
    """The way with the indices of a key such as `data[0].embedding`; None if it leads elsewhere."""
    pattern = ""
    for part in way:
        dot = r"\.?" if pattern else ""
        pattern += r"(?:\[(\d*)\])?" if part is None else dot + re.escape(str(part))
    if (match := re.fullmatch(pattern, key)) is None:
        return None
    indices = iter(match.groups())
    return tuple(int(i) if part is None and (i := next(indices)) else part for part in way)


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
    items: Iterable[tuple[str | int | None, Any]] = ()
    if isinstance(row, dict):
        items = () if {"indices", "values"} <= row.keys() else row.items()  # not of sparse vectors
    elif isinstance(row, list):
        kinds = [type(value) for value in row]
        first = next((value for value in row if value is not None), 0.0)
        if kinds.count(list) == 1 < len(row) and dict not in kinds:
            items = enumerate(row)  # of a table, such as [text, vector]
        elif not isinstance(first, bool) and _number(first) is None:  # not of numbers
            items = ((None, item) for item in row)
        else:
            yield way, row
    else:
        yield way, row
    for part, value in items:
        yield from _leaves(value, (*way, part))
