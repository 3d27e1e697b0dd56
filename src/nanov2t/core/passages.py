"""Passages of text out of files and data sets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nanov2t.core.errors import UserError, first_line

HELD_BACK = 1000
"""Rows in each of the dev and test splits of a data set that has none of its own."""
FORMATS = {".txt": "text", ".jsonl": "json", ".json": "json", ".parquet": "parquet"}
BEIR = re.compile(r"(^|/)BeIR/[^/]+/?$", re.IGNORECASE)
HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w.-]+)?")
"""How the names of BEIR's data sets on the Hub end; folders of that shape may end so too."""


def read_passages(source: str, split: str = "train", column: str = "") -> Iterator[str]:
    """Stream the passages of a source: the rows of :func:`read_rows` that hold text.

    Raises:
        UserError: as :func:`read_rows`; or no row holds text.
    """
    empty = True
    for text in read_rows(source, split, column):
        if text:
            empty = False
            yield text
    if empty:
        raise UserError(f"{source}: holds no text")


def read_rows(source: str, split: str = "train", column: str = "") -> Iterator[str]:
    """Stream the rows of a text (one a line), jsonl or parquet file, plain, .gz or .xz, or of a
    `datasets` name or folder; surrounding blanks are removed, and a row without text is empty.

    Args:
        split: of a data set, such as train, dev or test. jxm/nq_corpus_dpr: test is rows 0-999 of
            its dev, dev the next 1,000; so it is with every one that has a dev and no test split.
            One with only a train split, such as Tevatron/msmarco-passage-corpus: its last 1,000
            rows are test, the 1,000 before them dev. Of BEIR's data sets the corpus is read.
        column: what holds the text, by default `text`; several, such as `title,text`, are joined by
            blanks, and this is the default of BEIR's.

    Raises:
        UserError: there is no such file, data set, split or column.
    """
    columns = (column or ("title,text" if BEIR.search(source) else "text")).split(",")
    try:
        for row in _open(source, split):
            if missing := [name for name in columns if name not in row]:
                raise UserError(f"{source}: no column `{missing[0]}`, only {', '.join(row)}")
            values = (str(row[name] or "").strip() for name in columns)
            yield " ".join(value for value in values if value)
    except UserError:
        raise
    except ConnectionError:
        raise UserError(f"{source}: no such file, and the Hub cannot be reached") from None
    except Exception as error:
        # Whatever the readers of four formats and the Hub's client may raise.
        raise UserError(f"{source}: cannot be read: {first_line(error)}") from None


def check_source(source: str) -> None:
    """Refuse a source that is neither there nor can be the name of a data set.

    Raises:
        UserError: as it says.
    """
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
    """The rows, dictionaries by column."""
    check_source(source)
    import datasets

    kind = _format(source)
    if kind and not Path(source).is_dir():
        return datasets.load_dataset(kind, data_files=source, split="train", streaming=True)
    if BEIR.search(source):
        return _split_rows(source, datasets.load_dataset(source, "corpus"), "corpus")
    return _split_rows(source, datasets.load_dataset(source), split)


def _split_rows(source: str, data: Any, split: str) -> Any:
    """The rows of a split, by the rules of :func:`read_rows`."""
    if set(data) == {"train"}:
        rows, ends = data["train"], {"train": -2 * HELD_BACK, "dev": -HELD_BACK, "test": 0}
        if split in ends and len(rows) > 2 * HELD_BACK:
            end = len(rows) + ends[split]
            return rows.select(range(0 if split == "train" else end - HELD_BACK, end))
        if split in ends:
            raise UserError(
                f"{source}: {len(rows)} rows are too few to hold {HELD_BACK} back for each of dev "
                "and test"
            )
    if "test" not in data and "dev" in data and split in ("dev", "test"):
        rows, start = data["dev"], 0 if split == "test" else HELD_BACK
        if len(rows) < 2 * HELD_BACK:
            raise UserError(f"{source}: {len(rows)} rows of dev are too few to be dev and test")
        return rows.select(range(start, start + HELD_BACK))
    if split == "dev" and split not in data and "validation" in data:
        return data["validation"]
    if split not in data:
        raise UserError(f"{source}: no split {split}, only {', '.join(data)}")
    return data[split]
