"""Resuming long work: its numbered parts in a folder, and the comparison of its settings."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from nanov2t.core.errors import UserError
from nanov2t.core.files import make_folder, write_whole

MANIFEST = "_manifest.json"
"""The settings that made the run in a folder."""


class Parts:
    """Files `part-00000000.parquet` and so on, of a suffix such as `.parquet`, written by any
    number of processes into a folder that is made unless it exists.

    A part is written aside and renamed, so one that exists is complete. Until then a hidden file
    keeps what is done of it. A process claims a part by a lock, which the system frees if the
    process dies. All methods that write raise a UserError if they cannot.
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
        from filelock import FileLock, Timeout  # recipes import this file, and --help imports them

        lock = FileLock(self.out / f".part-{part:08d}.lock")
        with self.writing(), suppress(Timeout):
            if not self._path(part).exists():
                lock.acquire(blocking=False)
        try:
            yield lock.is_locked and not self._path(part).exists()
        finally:
            lock.release()

    def write(self, part: int, content: bytes | memoryview, complete: bool = True) -> None:
        """Write a part, or what is done of it."""
        with self.writing():
            write_whole(self._path(part) if complete else self.open_file(part), content)
            if complete:
                self.open_file(part).unlink(missing_ok=True)

    def open_file(self, part: int) -> Path:
        """The file of an incomplete part."""
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


def check_same_run(
    folder: Path, before: Mapping[str, Any], now: Mapping[str, Any], option: str
) -> None:
    """Refuse to continue a run that was started with other settings. The UserError names the first
    one that differs, and the option that chooses another folder.

    A setting that `before` lacks counts as None; one that only `before` has is not compared. A file
    or model is `{"name": ..., "fingerprint": ...}` and may move, so its name is not compared.
    """
    settings_before = flat(before)
    for name, value in flat(now).items():
        pair = (settings_before.get(name), value)
        old, new = (x["fingerprint"] if isinstance(x, Mapping) else x for x in pair)
        if old != new:
            old, new = (" ".join(x.values()) if isinstance(x, Mapping) else x for x in pair)
            raise UserError(
                f"{folder} holds a run with another {name} ({old}, not {new}): choose another "
                f"{option}, or delete it"
            )


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by their full names, such as `optim.lr`."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping) and "fingerprint" not in value:
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value
    return found
