"""What files are that cannot be read, by their first bytes."""

from __future__ import annotations

from pathlib import Path

COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "a zip archive",
}
PICKLE = b"\x80"
NAMED = {
    b"PAR1": ".parquet",
    b"ARROW1": ".feather",
    b"ORC": ".orc",
    b"\x93NUMPY": ".npy",
    b"\x89HDF": ".h5",
    b"SQLite format 3": ".sqlite",
}


def what_it_is(path: Path) -> str:
    """What a file is, and what would help; an empty string where its first bytes do not say."""
    with open(path, "rb") as file:
        first = file.read(16)
    for magic, name in COMPRESSED.items():
        if first.startswith(magic):
            return f"{name}, to be unpacked first"
    for magic, suffix in NAMED.items():
        if first.startswith(magic):
            return f"to be named {suffix} by its first bytes"
    return "a pickle, which may run code and stays closed" if first.startswith(PICKLE) else ""
