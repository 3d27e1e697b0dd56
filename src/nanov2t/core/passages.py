"""Passages of text out of files and data sets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from nanov2t.core.errors import UserError, first_line

HELD_BACK = 1000
"""Rows in each of the dev and test splits of a data set that has none of its own."""


def read_passages(source: str, split: str = "train") -> Iterator[str]:
    """Stream the passages of a text (one a line), jsonl or parquet file, plain, .gz or .xz, or of a
    `datasets` name or folder; jsonl and parquet need a column `text`.

    `split` chooses train, dev or test of a data set. jxm/nq_corpus_dpr: test is rows 0-999 of its
    dev, dev the next 1,000. One with only a train split, such as Tevatron/msmarco-passage-corpus:
    its last 1,000 rows are test, the 1,000 before them dev.

    Raises:
        UserError: there is no such file or data set, or it holds no text.
    """
    import datasets

    path = Path(source)
    formats = {".txt": "text", ".jsonl": "json", ".json": "json", ".parquet": "parquet"}
    suffix = next((s for s in reversed(path.suffixes) if s in formats), None)
    try:
        if suffix:
            if not path.is_file():
                raise UserError(f"{source}: no such file")
            rows: Iterable[dict[str, Any]] = datasets.load_dataset(
                formats[suffix], data_files=str(path), split="train", streaming=True
            )
        else:
            rows = _split_rows(datasets.load_dataset(source), split)
        empty = True
        for row in rows:
            if "text" not in row:
                raise UserError(f"{source}: no column `text`, only {', '.join(row)}")
            if text := (row["text"] or "").strip():
                empty = False
                yield text
    except UserError:
        raise
    except Exception as error:
        # Whatever the readers of four formats and the Hub's client may raise.
        raise UserError(f"{source}: cannot be read: {first_line(error)}") from None
    if empty:
        raise UserError(f"{source}: holds no text")


def _split_rows(data: Any, split: str) -> Any:
    if "dev" in data:
        if split == "train":
            return data["train"]
        start = 0 if split == "test" else HELD_BACK
        return data["dev"].select(range(start, start + HELD_BACK))
    rows = data["train"]
    count = len(rows)
    ends = {"train": count - 2 * HELD_BACK, "dev": count - HELD_BACK, "test": count}
    start = 0 if split == "train" else ends[split] - HELD_BACK
    return rows.select(range(start, ends[split]))
