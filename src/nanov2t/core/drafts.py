"""Files of drafts: JSON lines with `idx`, a row's place from 0, and `draft`, as nanoV2T writes
them."""

from __future__ import annotations

import json
from pathlib import Path

from nanov2t.core.errors import UserError

FOLDERS = ("", "drafts", "hyps")
"""Where below a folder its files of drafts may lie: ours in `drafts`, nanoV2T's in `hyps`."""


def drafts_file(path: Path, split: str) -> Path:
    """The file of a split's drafts: `path` itself, or `{split}.hyps.jsonl` in that folder.

    Raises:
        UserError: there is none.
    """
    if path.is_file():
        return path
    if not path.is_dir():
        raise UserError(f"{path}: no such file")
    name = f"{split}.hyps.jsonl"
    for folder in FOLDERS:
        if (path / folder / name).is_file():
            return path / folder / name
    raise UserError(f"{path}: a folder without {name}")


def read_drafts(path: Path) -> dict[int, str]:
    """The drafts of a file by `idx`.

    Raises:
        UserError: it cannot be read, or has an `idx` twice.
    """
    drafts: dict[int, str] = {}
    number = 0
    try:
        with open(path, encoding="utf-8") as file:
            for line in file:
                number += 1
                row = json.loads(line)
                idx, draft = int(row["idx"]), str(row["draft"])
                if idx in drafts:
                    raise UserError(f"{path}, line {number}: idx {idx} a second time")
                drafts[idx] = draft
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}, line {number}: not a JSON object with idx and draft ({error})"
        ) from None
    return drafts


def drafts_of(path: Path, rows: range, wanted: list[int]) -> list[str]:
    """The drafts of the `wanted` ones of `rows`.

    Raises:
        UserError: as :func:`read_drafts`; one is missing; or there are drafts of other rows.
    """
    drafts = read_drafts(path)
    if missing := [row for row in wanted if row not in drafts]:
        raise UserError(
            f"{path}: no draft for idx {missing[0]}; {len(drafts)} drafts, {len(rows)} rows"
        )
    if other := [row for row in drafts if row not in rows]:
        raise UserError(
            f"{path}: a draft for idx {other[0]}; {len(drafts)} drafts, {len(rows)} rows"
        )
    return [drafts[row] for row in wanted]
