"""Files and folders that are written whole or not at all: aside first, then renamed."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from nanov2t.core.errors import UserError


def make_folder(path: Path) -> None:
    """Make a folder if there is none, before anything is spent on what goes there.

    Raises:
        UserError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be made: {error.strerror}") from None


def cache_folder() -> Path:
    """Where things are kept that can be made again: NANOV2T_CACHE, or nanov2t in the user's cache
    folder."""
    if own := os.environ.get("NANOV2T_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nanov2t"


def digest(*facts: Any) -> str:
    """A hash of facts, 16 characters."""
    parts = [fact if isinstance(fact, bytes) else str(fact).encode() for fact in facts]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def write_whole(path: Path, content: bytes | memoryview) -> None:
    """Write a file beside `path` under a name of this process's own, then let it take its place.

    Raises:
        OSError: it cannot be written; what was there before stays.
    """
    aside = path.with_name(f".{path.name}-{socket.gethostname()}-{os.getpid()}")
    try:
        with open(aside, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        aside.rename(path)
    except OSError:
        aside.unlink(missing_ok=True)
        raise


def check_writable(folder: Path) -> None:
    """Refuse a folder that cannot be made or written, before anything is spent on what goes there.
    Nothing is left behind.

    Raises:
        UserError: it cannot be made, or not be written.
    """
    try:
        with suppress(FileNotFoundError):
            folder.stat()  # a file on its way, or a name that is too long
        there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        if not there.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        with tempfile.TemporaryDirectory(prefix=".nanov2t-", dir=there):
            pass
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror}") from None


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A fresh folder beside `path` that takes its place only once the block ends without an error.

    Raises:
        UserError: the folder cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    try:
        aside.chmod(0o755)
        yield aside
        old = aside.with_name(aside.name + "-old")
        if path.exists():
            path.rename(old)
        aside.rename(path)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)
