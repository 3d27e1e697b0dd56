"""Files that are written whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nanov2t.core.errors import UserError


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
