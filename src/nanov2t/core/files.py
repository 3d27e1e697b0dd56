"""Writing files and folders whole or not at all (aside first, then renamed), and hashing them."""

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


def cache_folder() -> Path:
    """The folder for files that can be made again: $NANOV2T_CACHE, or one in the user's cache."""
    users = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("NANOV2T_CACHE") or users / "nanov2t")


def digest(*facts: Any) -> str:
    """A hash of facts, 16 characters."""
    parts = [fact if isinstance(fact, bytes) else str(fact).encode() for fact in facts]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def file_fingerprint(path: Path) -> str:
    """A hash of a file's size, its modification time, and 4 KiB at each of 64 places. An edit
    changes the time. Another file of the same time almost certainly differs at some place."""
    facts = path.stat()
    samples = []
    with open(path, "rb") as file:
        for i in range(64):
            file.seek(max(0, facts.st_size - 4096) * i // 63)
            samples.append(file.read(4096))
    return digest(facts.st_size, facts.st_mtime_ns, *samples)


@contextmanager
def _refusing(path: Path, said: str = "cannot be written") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"{path}: {said}: {error.strerror}") from None


def make_folder(path: Path) -> None:
    """Make a folder unless it exists. A UserError if it cannot be made."""
    with _refusing(path, "cannot be made"):
        path.mkdir(parents=True, exist_ok=True)


def check_writable(folder: Path) -> None:
    """A UserError if a folder cannot be made or written. Leaves nothing behind."""
    with _refusing(folder):
        with suppress(FileNotFoundError):
            folder.stat()  # fails if a file is in the way, or the name is too long
        there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        with tempfile.TemporaryDirectory(prefix=".nanov2t-", dir=there):
            pass


def write_whole(path: Path, content: bytes | memoryview) -> None:
    """Write a file aside, then rename it to `path`. After an OSError, the previous file stays."""
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


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A new folder that replaces `path` if the block ends without an error."""
    path = Path(path)
    with _refusing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
        try:
            aside.chmod(0o755)
            yield aside
            old = aside.with_name(aside.name + "-old")
            if path.exists():
                path.rename(old)
            aside.rename(path)
            shutil.rmtree(old, ignore_errors=True)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
