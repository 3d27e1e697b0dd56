"""Decoding vectors: lists of numbers, also as strings or wrapped as in {"N": "0.1"}; such a list as
JSON, NumPy, torch or PostgreSQL print it; raw floats or int8; `np.save`; base64 of float32."""

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
"""Values of a column that show how it is decoded."""
FLOATS = ("<f4", "<f8", "<f2", ">f4", ">f8", ">f2")
"""Types that raw bytes may have, the commonest first."""
NPY = b"\x93NUMPY"
PICKLE = re.compile(rb"\x80[\x02-\x05][\x95cK}()\]qX\x8c]")
"""The start of a pickle: its protocol, and an instruction."""
BSON_FLOATS = b"\x27\0"
"""The start of MongoDB's float32 vectors."""
BASE64 = re.compile(r"[A-Za-z0-9+/]{40,}={0,2}")
BARE = 8
"""Fewest numbers of a list without brackets, since a few could be anything, such as 0,5."""
BRACKETS = ("[]", "()", "{}")
CALL = re.compile(r"[A-Za-z_][\w.]*\(([^()]*)\)")
"""A call around numbers, such as `tensor([0.1, 0.2])` or `np.float32(0.1)`."""
ARGUMENT = re.compile(r",\s*[a-z_]+=.*", re.DOTALL)
"""Its other arguments, such as `, dtype=float32`."""


@dataclass(frozen=True)
class Decoder:
    """Decodes the values of one column."""

    kind: str
    """The type of the numbers: `text`, or one of NumPy's."""
    raw: np.dtype[Any] | None = None
    """The type of raw bytes."""

    def __call__(self, value: Any) -> np.ndarray | str | None:
        """The numbers [dim] of a value, None for None, or a string that says why it holds no
        vector."""
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
    """The decoder for a column, from its first values; None if they hold no vectors."""
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
    """Why :func:`decoder_of` found no decoder."""
    value = next((value for value in values if value is not None), None)
    if value is None:
        return "missing"
    if (content := _content(value)) is not None:
        return f"{len(content)} bytes a row, which are neither floats nor int8 of an embedding"
    said = Decoder("text")(value)
    return said if isinstance(said, str) else NOT_NUMBERS


def parse_vector(text: str) -> np.ndarray | str:
    """The numbers of a printed list, or a string that says why it holds none. They may stand
    between commas or spaces, and within a call such as `tensor([0.1, 0.2], device='cuda:0')`."""
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
        return "abbreviated: it was printed with ... in place of numbers"
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
    """The number in a string or in an object such as {"$numberDouble": "0.1"}; None if it holds
    none."""
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
    """The raw bytes of numbers, also from base64; None if a value is text or names its format."""
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
    if PICKLE.match(content):
        return "a pickle, which may run code and is not opened"
    if not content.startswith(NPY):
        return parse_vector(content.decode("utf-8", "replace"))
    try:
        return _numbers(np.lib.format.read_array(io.BytesIO(content), allow_pickle=False))
    except (ValueError, EOFError) as error:
        return f"not an array: {first_line(error)}"


def _kind_of(blobs: list[bytes], kinds: Iterable[str]) -> np.dtype[Any] | None:
    """The type of the floats in blobs. Of those that look like an embedding, it has the fewest
    zeros, since one half of a wide number of few digits reads as zero."""
    likely: list[tuple[float, str]] = []
    for kind in kinds:
        size = int(kind[2])
        whole = [blob for blob in blobs if blob.strip(b"\0") and len(blob) % size == 0]
        numbers = np.frombuffer(b"".join(whole), kind)
        if 2 * len(whole) >= len(blobs) and _like_an_embedding(numbers):
            likely.append((float((numbers == 0).mean()), kind))
    return np.dtype(min(likely, key=lambda found: found[0])[1]) if likely else None


def _like_an_embedding(numbers: np.ndarray) -> bool:
    """Whether numbers are finite and have the size and spread of an embedding's. Bytes read as the
    wrong type scatter over most exponents."""
    with np.errstate(all="ignore"):
        sizes = np.abs(numbers[np.isfinite(numbers)].astype(np.float64))
        logs = np.log2(sizes[sizes > 0])
    if len(sizes) < 0.9 * len(numbers) or not len(logs):
        return False
    # Not the standard deviation: MiniLM has a number of 1e-33 in every vector.
    middle = np.median(logs)
    return bool(-20 < middle < 8 and np.abs(logs - middle).mean() < 3)


def _like_int8(blobs: list[bytes]) -> bool:
    """Whether bytes are mostly small as int8, and as often negative as positive. Hashes, compressed
    data, text and uint8 with an offset are not."""
    numbers = np.frombuffer(b"".join(blobs), np.int8)
    small = numbers[np.abs(numbers.astype(np.int16)) < 64]
    positive, negative = np.count_nonzero(small > 0), np.count_nonzero(small < 0)
    chance = 2 / np.sqrt(len(numbers) or 1)  # four deviations of a hash's share, which is a half
    return bool(
        len(small) > (0.5 + chance) * len(numbers) and positive < 2 * negative < 4 * positive
    )
