"""The numbered parts of a long piece of work, in a folder, so that it resumes after a kill."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from nanov2t.core.errors import UserError
from nanov2t.core.files import make_folder, write_whole


class Parts:
    """Files `part-00000000.parquet` and so on, written by any number of processes.

    A part is written aside and renamed, so one that exists is complete. Until then a hidden file
    keeps what is done of it. A process claims a part by a lock, which the system frees if the
    process dies.

    Args:
        out: the folder; it is made unless it exists.
        total: number of parts.
        suffix: of the files, such as `.parquet`.

    Raises:
        UserError: the folder cannot be written.
    """

    def __init__(self, out: Path, total: int, suffix: str):
        self.out, self._total, self._suffix = out, total, suffix
        make_folder(out)

    @property
    def parts(self) -> dict[int, Path]:
        """The complete parts, by number in ascending order."""
        paths = sorted(self.out.glob(f"part-{'[0-9]' * 8}{self._suffix}"))
        return {int(path.stem.removeprefix("part-")): path for path in paths}

    @property
    def missing(self) -> list[int]:
        """The numbers of the parts that are not complete."""
        return sorted(set(range(self._total)) - set(self.parts))

    @property
    def begun(self) -> set[int]:
        """The numbers of the incomplete parts of which something is saved."""
        paths = self.out.glob(".part-*.open")
        return {int(path.stem.removeprefix(".part-")) for path in paths} - self.parts.keys()

    @contextmanager
    def claim(self, part: int) -> Iterator[bool]:
        """Whether this process is to do the part: it is not complete, and no other is at it."""
        lock = FileLock(self.out / f".part-{part:08d}.lock")
        with self.writing(), suppress(Timeout):
            if not self._path(part).exists():
                lock.acquire(blocking=False)
        try:
            yield lock.is_locked and not self._path(part).exists()
        finally:
            lock.release()

    def write(self, part: int, content: bytes | memoryview) -> None:
        """Write a complete part.

        Raises:
            UserError: it cannot be written.
        """
        with self.writing():
            write_whole(self._path(part), content)
            self.open_file(part).unlink(missing_ok=True)

    def save(self, part: int, content: bytes | memoryview) -> None:
        """Save what is done of an incomplete part; errors as of :meth:`write`."""
        with self.writing():
            write_whole(self.open_file(part), content)

    def open_file(self, part: int) -> Path:
        """The file of :meth:`save`."""
        return self.out / f".part-{part:08d}.open"

    def tidy(self) -> None:
        """Remove what killed processes left, once nothing is missing."""
        with self.writing():
            for path in [*self.out.glob(".*part-*"), *self.out.glob("._manifest*")]:
                path.unlink(missing_ok=True)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Turn errors of the file system into one line."""
        try:
            yield
        except OSError as error:
            said = f"{self.out}: cannot be written: {error.strerror or error}"
            if self.parts or self.begun:
                said += "; what is finished stays, and the same command goes on from there"
            raise UserError(said) from None

    def _path(self, part: int) -> Path:
        return self.out / f"part-{part:08d}{self._suffix}"
