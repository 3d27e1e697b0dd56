"""The folder of a bulk run: a manifest of its settings, and its parts."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock

from nanov2t.bulk.table import FOUND
from nanov2t.core.errors import UserError, first_line
from nanov2t.core.files import digest, file_fingerprint, write_whole
from nanov2t.core.manifest import check_same_run
from nanov2t.core.parts import Parts
from nanov2t.models.hub import locate
from nanov2t.pretrained import BUNDLED
from nanov2t.search.options import Budget
from nanov2t.stores.base import Store

MANIFEST = "_manifest.json"
PART_ROWS = 1024
"""Rows of a part; enough that the smaller batches at its end cost little."""


class RunFolder(Parts):
    """A folder with `_manifest.json`, the settings of a run, and `part-*.parquet`.

    Args:
        out: the folder; it is made unless it exists.
        count: rows of the whole run.
        manifest: all settings that change the results.
        request: from :func:`request_of`, by which :func:`finished_folder` recognises the run.

    Raises:
        UserError: the folder cannot be written, or holds another run.
    """

    def __init__(self, out: Path, count: int, manifest: dict[str, Any], request: str = ""):
        super().__init__(out, -(-count // PART_ROWS), ".parquet")
        self.count = count
        path = out / MANIFEST
        with self.writing():
            if not path.exists():
                with FileLock(out / "._manifest.lock"):
                    if not path.exists():
                        content = json.dumps(manifest | {"request": request}, indent=2)
                        write_whole(path, content.encode())
        check_same_run(out, _read_manifest(out), manifest, "--out")

    @property
    def finished_rows(self) -> int:
        """Rows that are done and saved, in complete and incomplete parts."""
        complete = sum(len(self.rows_of(part)) for part in self.parts)
        return complete + sum(len(self.saved(part)) for part in self.begun)

    def rows_of(self, part: int) -> range:
        return range(part * PART_ROWS, min((part + 1) * PART_ROWS, self.count))

    def saved(self, part: int) -> dict[int, dict[str, Any]]:
        """The cells of the finished rows of an incomplete part, by their index in the part; none if
        the file is damaged."""
        try:
            table = pq.read_table(self.open_file(part), columns=list(FOUND))
        except (OSError, pa.ArrowException):
            return {}
        return {i: row for i, row in enumerate(table.to_pylist()) if row["inverted"] is not None}


def settings_of(
    source: Store, count: int, search: str, effort: str, budget: Budget, beam: int
) -> dict[str, Any]:
    """The settings of a manifest that are known before the inverter is loaded."""
    return {
        "source": {"name": source.name, "fingerprint": source.fingerprint},
        "rows": count,
        "ids": source.ids,
        "search": search,
        "effort": effort,
        "budget": str(budget),
        "beam": beam,
        "part": PART_ROWS,
    }


def finished_folder(out: Path, settings: dict[str, Any], request: str) -> RunFolder | None:
    """The folder if it holds the whole run, recognised by `request` without loading the inverter.

    Args:
        settings: of :func:`settings_of`, and others of the manifest.

    Raises:
        UserError: the folder holds a run with other settings.
    """
    if not (out / MANIFEST).is_file():
        return None
    folder = RunFolder(out, settings["rows"], settings)
    same = request and _read_manifest(out).get("request") == request
    return None if folder.missing or not same else folder


def request_of(options: Mapping[str, Any], models: Sequence[str | None]) -> str:
    """A hash of the command, or an empty string if the inverter has no files on this machine.

    Args:
        options: all that change the results, except the models and the source.
        models: the inverter's name, then those of other models or None. Models in folders are
            hashed by their files, others by their names.
    """
    facts: list[Any] = [sorted(options.items())]
    for name in models:
        folder = BUNDLED.get(name or "") or locate(re.split("[#?]", name or "")[0])
        paths = sorted(path for path in folder.rglob("*") if path.is_file()) if name else []
        files = [(str(path.relative_to(folder)), file_fingerprint(path)) for path in paths]
        if name is models[0] and not files:
            return ""
        facts.append(files or name)
    return digest(*facts)


def _read_manifest(out: Path) -> dict[str, Any]:
    path = out / MANIFEST
    try:
        return dict(json.loads(path.read_bytes()))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: damaged: {first_line(error)}") from None
