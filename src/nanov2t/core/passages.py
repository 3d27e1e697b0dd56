"""Passages of text from files and data sets."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nanov2t.core.errors import UserError, first_line

HELD_BACK = 1000  # rows of the dev split, and of the test split, cut from a data set that has none
FORMATS = {".txt": "text", ".jsonl": "json", ".json": "json", ".parquet": "parquet"}
BEIR = re.compile(r"(^|/)BeIR/[^/]+/?$", re.IGNORECASE)
HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w.-]+)?")


def read_passages(source: str, split: str = "train", column: str = "") -> Iterator[str]:
    """Stream the rows of :func:`read_rows` that hold text; if none does, raise a
    :class:`UserError`."""
    empty = True
    for text in filter(None, read_rows(source, split, column)):
        empty = False
        yield text
    if empty:
        raise UserError(f"{source}: holds no text")


def read_rows(source: str, split: str = "train", column: str = "") -> Iterator[str]:
    """Stream the rows of a text (one a line), jsonl or parquet file (plain, .gz or .xz), or of a
    `datasets` name or folder. Rows are stripped; one without text is empty.

    Args:
        split: of a data set: train, dev or test. If it has only a train split, test is the last
            1,000 rows and dev the 1,000 before them. If it has dev but no test split, test is the
            first 1,000 rows of dev, and dev the next 1,000. BEIR data sets give their corpus.
        column: that holds the text, by default `text`. Several (`title,text`, the default for BEIR)
            are joined by blanks.

    Raises:
        UserError: the file, data set, split or column does not exist.
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
    """Raise a :class:`UserError` if a source neither exists nor could be a data set's name."""
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
    if set(data) == {"train"} and split in ("train", "dev", "test"):
        rows, end = data["train"], len(data["train"]) - 2 * HELD_BACK
        start = {"train": 0, "dev": end, "test": end + HELD_BACK}[split]
    elif "test" not in data and "dev" in data and split in ("dev", "test"):
        rows, end = data["dev"], len(data["dev"]) - 2 * HELD_BACK + 1
        start = 0 if split == "test" else HELD_BACK
    else:
        name = "validation" if split == "dev" and split not in data else split
        if name not in data:
            raise UserError(f"{source}: no split {split}, only {', '.join(data)}")
        return data[name]
    if end <= 0:
        raise UserError(f"{source}: {len(rows)} rows are too few for dev and test of {HELD_BACK}")
    return rows.select(range(start, end if split == "train" else start + HELD_BACK))
