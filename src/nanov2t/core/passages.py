"""Passages of text from files and data sets, and drafts as nanoV2T writes them: JSON lines with
`idx`, a row number from 0, and `draft`."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nanov2t.core.errors import UserError, first_line

HELD_BACK = 1000  # rows of the dev split, and of the test split, cut from a data set that has none
FORMATS = {".txt": "text", ".jsonl": "json", ".json": "json", ".parquet": "parquet"}
BEIR = re.compile(r"(^|/)BeIR/[^/]+/?$", re.IGNORECASE)
DRAFT_FOLDERS = ("", "drafts", "hyps")  # we write `drafts`, nanoV2T writes `hyps`
HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w.-]+)?")


def read_passages(source: str, split: str = "train", column: str = "") -> Iterator[str]:
    """Stream the rows of :func:`read_rows` that hold text. A UserError if none does."""
    empty = True
    for text in filter(None, read_rows(source, split, column)):
        empty = False
        yield text
    if empty:
        raise UserError(f"{source}: holds no text")


def read_rows(source: str, split: str = "train", column: str = "") -> Iterator[str]:
    """Stream the rows of a text (one a line), jsonl or parquet file (plain, .gz or .xz), or of a
    `datasets` name or folder. Rows are stripped; one without text is empty. A UserError if the
    file, data set, split or column does not exist.

    If a data set has only a train split, test is its last 1,000 rows and dev the 1,000 before them.
    If it has dev but no test split, test is the first 1,000 rows of dev, and dev the next 1,000.
    BEIR data sets give their corpus. Several columns (`title,text`, the default for BEIR) are
    joined by blanks.
    """
    columns = (column or ("title,text" if BEIR.search(source) else "text")).split(",")
    try:
        for row in _open(source, split):
            if missing := [name for name in columns if name not in row]:
                raise UserError(f"{source}: no column `{missing[0]}`, only {', '.join(row)}")
            values = (str(row[name] or "").strip() for name in columns)
            yield " ".join(filter(None, values))
    except UserError:
        raise
    except ConnectionError:
        raise UserError(f"{source}: no such file, and the Hub cannot be reached") from None
    except Exception as error:  # the readers and the Hub's client may raise anything
        raise UserError(f"{source}: cannot be read: {first_line(error)}") from None


def check_source(source: str) -> None:
    """A UserError if a source neither exists nor could be a data set's name."""
    path = Path(source)
    if not source:
        raise UserError("the texts: their file's name is empty")
    if not path.exists() and (_format(source) or not HUB_NAME.fullmatch(source)):
        raise UserError(f"{source}: no such file")
    if path.is_file() and not _format(source):
        raise UserError(f"{source}: not one of {', '.join(FORMATS)}, also .gz or .xz")
    if path.is_file() and not path.stat().st_size:
        raise UserError(f"{source}: holds no text")


def _format(source: str) -> str | None:
    return next((FORMATS[s] for s in reversed(Path(source).suffixes) if s in FORMATS), None)


def _open(source: str, split: str) -> Any:
    check_source(source)
    import datasets

    kind = _format(source)
    if kind and not Path(source).is_dir():
        return datasets.load_dataset(kind, data_files=source, split="train", streaming=True)
    if BEIR.search(source):
        return datasets.load_dataset(source, "corpus")["corpus"]
    data = datasets.load_dataset(source)
    cuts = {"train": slice(0, -2 * HELD_BACK), "dev": slice(-2 * HELD_BACK, -HELD_BACK)}
    cuts["test"] = slice(-HELD_BACK, None)
    if set(data) == {"train"} and split in cuts:
        rows = data["train"]
    elif "test" not in data and "dev" in data and split in ("dev", "test"):
        rows, cuts = data["dev"], {"test": slice(HELD_BACK), "dev": slice(HELD_BACK, 2 * HELD_BACK)}
    else:
        name = "validation" if split == "dev" and split not in data else split
        if name not in data:
            raise UserError(f"{source}: no split {split}, only {', '.join(data)}")
        return data[name]
    if len(rows) < 2 * HELD_BACK:
        raise UserError(f"{source}: {len(rows)} rows are too few for dev and test of {HELD_BACK}")
    return rows.select(range(len(rows))[cuts[split]])


def drafts_file(path: Path, split: str) -> Path:
    """The draft file of a split: `path` itself, or `{split}.hyps.jsonl` in that folder."""
    name = f"{split}.hyps.jsonl"
    for file in (path, *(path / folder / name for folder in DRAFT_FOLDERS)):
        if file.is_file():
            return file
    said = f"a folder without {name}" if path.is_dir() else "no such file"
    raise UserError(f"{path}: {said}")


def drafts_of(path: Path, rows: range, wanted: list[int]) -> list[str]:
    """The drafts of the `wanted` ones among `rows`. A UserError if the file cannot be read, repeats
    an `idx`, lacks a wanted draft, or has drafts of other rows."""
    drafts: dict[int, str] = {}
    number = 0
    try:
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                row = json.loads(line)
                if (idx := int(row["idx"])) in drafts:
                    raise UserError(f"{path}, line {number}: idx {idx} a second time")
                drafts[idx] = str(row["draft"])
    except (ValueError, KeyError, TypeError) as error:
        said = f"not a JSON object with idx and draft ({error})"
        raise UserError(f"{path}, line {number}: {said}") from None
    held = f"{len(drafts)} drafts, {len(rows)} rows"
    if missing := [row for row in wanted if row not in drafts]:
        raise UserError(f"{path}: no draft for idx {missing[0]}; {held}")
    if other := [row for row in drafts if row not in rows]:
        raise UserError(f"{path}: a draft for idx {other[0]}; {held}")
    return [drafts[row] for row in wanted]
