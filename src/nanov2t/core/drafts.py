"""Draft files as nanoV2T writes them: JSON lines with `idx`, a row number from 0, and `draft`."""

import json
from pathlib import Path

from nanov2t.core.errors import UserError

FOLDERS = ("", "drafts", "hyps")
"""Subfolders that may hold draft files: we write `drafts`, nanoV2T writes `hyps`."""


def drafts_file(path: Path, split: str) -> Path:
    """The draft file of a split: `path` itself, or `{split}.hyps.jsonl` in that folder. Raises a
    :class:`UserError` if there is none."""
    name = f"{split}.hyps.jsonl"
    for file in (path, *(path / folder / name for folder in FOLDERS)):
        if file.is_file():
            return file
    raise UserError(
        f"{path}: a folder without {name}" if path.is_dir() else f"{path}: no such file"
    )


def drafts_of(path: Path, rows: range, wanted: list[int]) -> list[str]:
    """The drafts of the `wanted` ones among `rows`.

    Raises:
        UserError: the file cannot be read, repeats an `idx`, lacks a wanted draft, or has drafts of
            other rows.
    """
    drafts: dict[int, str] = {}
    number = 0
    try:
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                row = json.loads(line)
                idx, draft = int(row["idx"]), str(row["draft"])
                if idx in drafts:
                    raise UserError(f"{path}, line {number}: idx {idx} a second time")
                drafts[idx] = draft
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError) as error:
        said = f"not a JSON object with idx and draft ({error})"
        raise UserError(f"{path}, line {number}: {said}") from None
    held = f"{len(drafts)} drafts, {len(rows)} rows"
    if missing := [row for row in wanted if row not in drafts]:
        raise UserError(f"{path}: no draft for idx {missing[0]}; {held}")
    if other := [row for row in drafts if row not in rows]:
        raise UserError(f"{path}: a draft for idx {other[0]}; {held}")
    return [drafts[row] for row in wanted]
