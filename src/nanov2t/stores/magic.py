"""What files are that cannot be read, by their first bytes."""

from __future__ import annotations

import re
from pathlib import Path

from nanov2t.core.errors import UserError
from nanov2t.stores.values import PICKLE

COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "a zip archive",
}
NAMED = {
    b"PAR1": ".parquet",
    b"ARROW1": ".feather",
    b"\x93NUMPY": ".npy",
    b"\x89HDF": ".h5",
    b"SQLite format 3": ".sqlite",
}
UTF16 = b"\xff\xfe", b"\xfe\xff"
CONTROL = re.compile(rb"[\0-\x08\x0e-\x1f]")
"""What text does not hold."""
BINARY = "a binary file of no known format"
HEAD = 2**16


def what_it_is(path: Path) -> str:
    """What a file is, and what would help; an empty string where its first bytes do not say."""
    first = _start(path)
    for magic, name in COMPRESSED.items():
        if first.startswith(magic):
            return f"{name}, to be unpacked first"
    for magic, suffix in NAMED.items():
        if first.startswith(magic):
            return f"to be named {suffix} by its first bytes"
    if PICKLE.match(first):
        return "a pickle, which may run code and stays closed"
    return BINARY if CONTROL.search(first) else ""


def check_encoding(path: Path) -> None:
    """Refuse a file of text that does not begin as UTF-8."""
    first = _start(path)
    if first.startswith(UTF16) or b"\0" in first[:4]:
        raise UserError(f"{path}: in UTF-16: convert it by iconv -f UTF-16 -t UTF-8")
    if CONTROL.search(first):
        raise UserError(f"{path}: {what_it_is(path) or BINARY}, not text")
    try:
        first.decode()
    except UnicodeDecodeError as error:
        if error.start < len(first) - 3:  # else a letter is cut in two
            raise UserError(
                f"{path}: not in UTF-8, but perhaps in Latin-1: convert it by "
                "iconv -f LATIN1 -t UTF-8"
            ) from None


def _start(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(HEAD)
