"""Naming unreadable files by their first bytes."""

from __future__ import annotations

import re
from pathlib import Path

from nanov2t.core.errors import UserError
from nanov2t.stores.values import PICKLE

MAGIC = {
    b"\x1f\x8b": "gzip, to be unpacked first",
    b"BZh": "bzip2, to be unpacked first",
    b"\xfd7zXZ": "xz, to be unpacked first",
    b"\x28\xb5\x2f\xfd": "zstd, to be unpacked first",
    b"PK\x03\x04": "a zip archive, to be unpacked first",
    b"PAR1": "to be named .parquet by its first bytes",
    b"ARROW1": "to be named .feather by its first bytes",
    b"\x93NUMPY": "to be named .npy by its first bytes",
    b"\x89HDF": "to be named .h5 by its first bytes",
    b"SQLite format 3": "to be named .sqlite by its first bytes",
}
UTF16 = b"\xff\xfe", b"\xfe\xff"
CONTROL = re.compile(rb"[\0-\x08\x0e-\x1f]")
"""Bytes that text does not hold."""
BINARY = "a binary file of no known format"


def what_it_is(path: Path) -> str:
    """What a file is and what would help, or an empty string if its first bytes do not say."""
    first = _start(path)
    for magic, said in MAGIC.items():
        if first.startswith(magic):
            return said
    if PICKLE.match(first):
        return "a pickle, which may run code and is not opened"
    return BINARY if CONTROL.search(first) else ""


def check_encoding(path: Path) -> None:
    """Refuse a text file that does not start as UTF-8."""
    first = _start(path)
    if first.startswith(UTF16) or b"\0" in first[:4]:
        raise UserError(f"{path}: in UTF-16: convert it by iconv -f UTF-16 -t UTF-8")
    if CONTROL.search(first):
        raise UserError(f"{path}: {what_it_is(path) or BINARY}, not text")
    try:
        first.decode()
    except UnicodeDecodeError as error:
        if error.start < len(first) - 3:  # else only the last letter is cut in two
            raise UserError(
                f"{path}: not in UTF-8, but perhaps in Latin-1: convert it by "
                "iconv -f LATIN1 -t UTF-8"
            ) from None


def _start(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(2**16)
