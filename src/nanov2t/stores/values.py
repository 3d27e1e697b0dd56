"""Vectors out of whatever people keep them as.

A vector is a list of numbers, also of numbers in strings or wrapped as in {"N": "0.1"}; a string of
one as JSON, numpy, torch or PostgreSQL print it; the raw bytes of floats or of int8; an array that
`np.save` wrote; or base64 of float32.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from nanov2t.core.errors import first_line

NOT_NUMBERS = "not a list of numbers"
LOOKED_AT = 64
"""Values of a column that are looked at to learn how its bytes are read."""
FLOATS = ("<f4", "<f8", "<f2", ">f4", ">f8", ">f2")
"""What raw bytes may be, the commonest first."""
NPY = b"\x93NUMPY"
PICKLE = re.compile(rb"\x80[\x02-\x05][\x95cK}()\]qX\x8c]")
"""How pickles begin: with their protocol, and an instruction."""
BSON_FLOATS = b"\x27\0"
"""What MongoDB's vectors of float32 begin with."""
BASE64 = re.compile(r"[A-Za-z0-9+/]{40,}={0,2}")
BARE = 8
"""Numbers that make a list without brackets; a few could be anything, such as 0,5."""
BRACKETS = ("[]", "()", "{}")
CALL = re.compile(r"[A-Za-z_][\w.]*\(([^()]*)\)")
"""A call around numbers, such as `tensor([0.1, 0.2])` or `np.float32(0.1)`."""
ARGUMENT = re.compile(r",\s*[a-z_]+=.*", re.DOTALL)
"""The further arguments of one, such as `, dtype=float32`."""


@dataclass(frozen=True)
class Decoder:
    """Reads the values of one column."""

    kind: str
    """Of the numbers: `text`, or a type of numpy's."""
    raw: np.dtype[Any] | None = None
    """What raw bytes hold."""

    def __call__(self, value: Any) -> np.ndarray | str | None:
        """The numbers [dim] of a value, None where there is none, or a string that says why it
        holds no vector."""
        if value is None:
            return None
        if self.raw is not None and (content := _content(value)) is not None:
            if len(content) % self.raw.itemsize:
                return f"{len(content)} bytes, not numbers of {self.kind}"
            return np.frombuffer(content, self.raw)
        if isinstance(value, bytes | bytearray | memoryview):
            return _stored(bytes(value))
        return parse_vector(value) if isinstance(value, str) else _numbers(value)


def decoder_of(values: Iterable[Any]) -> Decoder | None:
    """How the values of a column are read, by the first of them; None if they hold no vectors."""
    sample = [value for value in values if value is not None][:LOOKED_AT]
    if blobs := [content for value in sample if (content := _content(value)) is not None]:
        encoded = any(isinstance(value, str) for value in sample)
        raw = _kind_of(blobs, FLOATS[:1] if encoded else FLOATS)
        if raw is None and not encoded and _like_int8(blobs):
            raw = np.dtype(np.int8)
        return None if raw is None else Decoder(raw.name, raw)
    arrays = [found for found in map(Decoder("text"), sample) if isinstance(found, np.ndarray)]
    if not arrays:
        return None
    stored = isinstance(sample[0], bytes) and sample[0].startswith(NPY)
    return Decoder(arrays[0].dtype.name if stored else "text")


def why_not(values: Iterable[Any]) -> str:
    """Why a column for which there is no decoder holds no vectors."""
    value = next((value for value in values if value is not None), None)
    if value is None:
        return "missing"
    if (content := _content(value)) is not None:
        return f"{len(content)} bytes a row, which are neither floats nor int8 of an embedding"
    said = Decoder("text")(value)
    return said if isinstance(said, str) else NOT_NUMBERS


def parse_vector(text: str) -> np.ndarray | str:
    """The numbers of a list, between commas or, as numpy prints them, spaces; also
    within a call such as `tensor([0.1, 0.2], device='cuda:0')`. A string that is none says why."""
    text = text.strip()
    if (text[-1:] == ")" and text[:1].isalpha()) or "np." in text:
        text = ARGUMENT.sub("", CALL.sub(r"\1", CALL.sub(r"\1", text))).strip()
    if text[:1] + text[-1:] not in BRACKETS:
        try:
            bare = np.array(text.split("," if "," in text else None), np.float64)
        except ValueError:
            return NOT_NUMBERS
        return bare if len(bare) >= BARE else NOT_NUMBERS
    if "..." in text:
        return "printed in short: numbers are left out of it"
    try:
        return _numbers(json.loads(text))
    except (ValueError, RecursionError):
        while text[:1] + text[-1:] in BRACKETS:
            text = text[1:-1].strip()
        try:
            return np.array(re.sub("[,'\"]", " ", text).split(), np.float64)
        except ValueError:
            return NOT_NUMBERS


def as_number(value: Any) -> float | None:
    """The number in a string, or in an object of one key such as {"$numberDouble": "0.1"}."""
    while isinstance(value, dict) and len(value) == 1:
        [value] = value.values()
    if value is None:
        return np.nan
    try:
        return None if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _numbers(value: Any) -> np.ndarray | str:
    """The numbers of a list, or of the only list in one."""
    if not isinstance(value, list | tuple | np.ndarray):
        return NOT_NUMBERS
    try:
        found = np.array(value)
    except (ValueError, OverflowError):
        return NOT_NUMBERS
    if found.dtype.kind in "UO":
        items = value[0] if found.ndim == 2 and len(value) == 1 else value
        unwrapped = [as_number(item) for item in items]
        if None in unwrapped:
            commas = any(isinstance(item, str) and "," in item for item in items)
            return "numbers with decimal commas" if commas else NOT_NUMBERS
        found = np.array(unwrapped, np.float64)
    if found.dtype.kind not in "fiu":
        return NOT_NUMBERS
    while found.ndim > 1 and len(found) == 1:
        found = found[0]
    if found.ndim != 1:
        return f"{len(found)} lists of numbers, not one" if found.ndim else NOT_NUMBERS
    return found if len(found) else NOT_NUMBERS


def _content(value: Any) -> bytes | None:
    """The raw bytes of numbers; None where a value is text, or says itself what it is."""
    if isinstance(value, str):
        if len(value) % 4 or not BASE64.fullmatch(value):
            return None
        try:
            value = base64.b64decode(value, validate=True)
        except binascii.Error:
            return None
    if not isinstance(value, bytes | bytearray | memoryview):
        return None
    content = bytes(value)
    if content.startswith(BSON_FLOATS) and len(content) % 4 == 2:
        content = content[2:]
    is_text = content.isascii() and content.decode("ascii").isprintable()
    return None if is_text or content.startswith(NPY) or PICKLE.match(content) else content


def _stored(content: bytes) -> np.ndarray | str:
    """The numbers of what `np.save` wrote, or of text."""
    if PICKLE.match(content):
        return "a pickle, which may run code and stays closed"
    if not content.startswith(NPY):
        return parse_vector(content.decode("utf-8", "replace"))
    try:
        return _numbers(np.lib.format.read_array(io.BytesIO(content), allow_pickle=False))
    except (ValueError, EOFError) as error:
        return f"not an array: {first_line(error)}"


def _kind_of(blobs: list[bytes], kinds: Iterable[str]) -> np.dtype[Any] | None:
    """The floats that blobs hold: of those that look like an embedding's, the ones with the fewest
    zeros, since a wider number of few digits reads as a number and zeros."""
    likely: list[tuple[float, str]] = []
    for kind in kinds:
        size = int(kind[2])
        whole = [blob for blob in blobs if blob.strip(b"\0") and len(blob) % size == 0]
        numbers = np.frombuffer(b"".join(whole), kind)
        if 2 * len(whole) >= len(blobs) and _like_an_embedding(numbers):
            likely.append((float((numbers == 0).mean()), kind))
    return np.dtype(min(likely, key=lambda found: found[0])[1]) if likely else None


def _like_an_embedding(numbers: np.ndarray) -> bool:
    """Whether numbers are finite, about as large as those of embeddings, and not much smaller and
    larger than each other. Bytes that are read as another kind of float are scattered over most
    exponents."""
    with np.errstate(all="ignore"):
        sizes = np.abs(numbers[np.isfinite(numbers)].astype(np.float64))
        logs = np.log2(sizes[sizes > 0])
    if len(sizes) < 0.9 * len(numbers) or not len(logs):
        return False
    # Not the standard deviation: MiniLM has a number of 1e-33 in every vector.
    middle = np.median(logs)
    return bool(-20 < middle < 8 and np.abs(logs - middle).mean() < 3)


def _like_int8(blobs: list[bytes]) -> bool:
    """Whether bytes are mostly small as int8, and as often negative as positive. Those of hashes,
    compressed data and text are not, nor are uint8 with an offset."""
    numbers = np.frombuffer(b"".join(blobs), np.int8)
    small = numbers[np.abs(numbers.astype(np.int16)) < 64]
    positive, negative = np.count_nonzero(small > 0), np.count_nonzero(small < 0)
    chance = 2 / np.sqrt(len(numbers) or 1)  # four deviations of a hash's share, which is a half
    return bool(
        len(small) > (0.5 + chance) * len(numbers) and positive < 2 * negative < 4 * positive
    )
