"""Text files: CSV, and vectors after their words as word2vec and GloVe write them.

Also naming files that are neither text nor any known format.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice, takewhile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv

from nanov2t.core.errors import UserError
from nanov2t.core.files import file_fingerprint
from nanov2t.stores.arrow import ArrowRows
from nanov2t.stores.base import HEAD, ForwardStore, NoRows
from nanov2t.stores.values import NOT_NUMBERS, PICKLE

BLOCK = 2**20
"""Bytes of a CSV file read at once; a row must be shorter."""
MAGIC = {
    b"\x1f\x8b": "compressed by gzip: unpack it first",
    b"BZh": "compressed by bzip2: unpack it first",
    b"\xfd7zXZ": "compressed by xz: unpack it first",
    b"\x28\xb5\x2f\xfd": "compressed by zstd: unpack it first",
    b"PK\x03\x04": "a zip archive: unpack it first",
    b"PAR1": "a .parquet file under another name: rename it",
    b"ARROW1": "a .feather file under another name: rename it",
    b"\x93NUMPY": "a .npy file under another name: rename it",
    b"\x89HDF": "a .h5 file under another name: rename it",
    b"SQLite format 3": "a .sqlite file under another name: rename it",
}
UTF16 = b"\xff\xfe", b"\xfe\xff"
CONTROL = re.compile(rb"[\0-\x08\x0e-\x1f]")
"""Bytes that text does not hold."""
BINARY = "a binary file of no known format"


class CsvStore(ArrowRows):
    """Vectors in a column, or one column for each dimension, between commas, tabs, semicolons or
    bars. Columns have no names if the first line is all numbers, other than 0, 1, 2 and so on.

    All cells are read as text, so that one that is not a number is an error of its row alone.
    """

    suffixes = (".csv", ".tsv")
    forms = ("x.csv#COLUMN", "x.csv#FIRST:LAST", "x.tsv")

    def open(self) -> tuple[pa.Schema, int]:
        check_encoding(self.path)
        with self.path.open("rb") as file:
            if not file.read(4).removeprefix(b"\xef\xbb\xbf").strip():
                raise NoRows(str(self.path))
            file.seek(-1, 2)
            if file.read() not in b'\n\r"':
                raise ValueError("its last line has no end: it may have been cut off")
        first = self._first_line()
        counted = [str(i) for i in range(len(first))]
        self.named = first == counted or not _numbers(first)  # pandas counts columns without names
        self.names = _distinct(first) if self.named else counted
        schema = pa.schema([(name, pa.string()) for name in self.names])
        return schema, sum(len(batch) for batch in self.batches(self.names[:1]))

    def _first_line(self) -> list[str]:
        """Its cells, split at the delimiter that gives the first two rows as many, else commas."""
        csv.field_size_limit(BLOCK)
        for self.delimiter in ";\t|,":
            with self.path.open(newline="", encoding="utf-8-sig") as file, suppress(csv.Error):
                rows = list(islice(csv.reader(file, delimiter=self.delimiter), 2))
                if len(rows[0]) > 1 and len(rows[0]) == len(rows[-1]):
                    break
        return rows[0]

    def batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        reader = pa.csv.open_csv(
            self.path,
            pa.csv.ReadOptions(
                use_threads=False, block_size=BLOCK, column_names=self.names, skip_rows=self.named
            ),
            pa.csv.ParseOptions(delimiter=self.delimiter, newlines_in_values=True),
            pa.csv.ConvertOptions(
                column_types=dict.fromkeys(self.names, pa.string()),
                include_columns=columns,
                null_values=[""],
                strings_can_be_null=True,
            ),
        )
        for batch in reader:
            yield from (batch.slice(i, HEAD) for i in range(0, len(batch), HEAD))


class WordStore(ForwardStore):
    """Lines of numbers between spaces, after a word or alone. The first line may hold the numbers
    of rows and dimensions. The words are the ids."""

    suffixes = (".vec", ".txt")
    forms = ("x.vec", "x.txt")
    own_ids = "the words, or row numbers"

    def __init__(self, where: str, key: str, ids: str | None):
        self.path = Path(where)
        if key:
            raise UserError(f"{where}: its vectors have no name, so no {key}")
        check_encoding(self.path)
        head = [line.split() for line in islice(self._lines(), HEAD)]
        if not head:
            raise NoRows(where)
        counts = head[0]
        self.has_counts = (
            len(counts) == 2 and all(map(str.isdigit, counts)) and [*map(len, head[1:2])] != [2]
        )
        if self.has_counts:
            head, self.numbers = head[1:], int(counts[1])
        else:
            [(self.numbers, _)] = Counter(map(_count_last_numbers, head)).most_common(1)
        if not self.numbers:
            raise UserError(f"{where}: its lines hold no vectors")
        self.keeps_ids = any(len(cells) > self.numbers for cells in head)
        count = sum(1 for _ in self._lines()) - self.has_counts
        if self.has_counts and counts[0] != str(count):
            raise UserError(
                f"{where}: holds {count} rows, not {counts[0]}: it may have been cut off"
            )
        self.describe(where, "text", count, file_fingerprint(self.path), not self.keeps_ids)

    def rows(self) -> Iterator[tuple[Any, Any]]:
        for line in islice(self._lines(), self.has_counts, None):
            # A word may hold spaces.
            word, *numbers = line.rsplit(maxsplit=self.numbers) if self.keeps_ids else ("", line)
            vector = _vector(numbers if self.keeps_ids else line.split())
            yield word, NOT_NUMBERS if vector is None else vector

    def _lines(self) -> Iterator[str]:
        line = b"\n"
        with open(self.path, "rb") as file:
            for line in file:
                if not line.isspace():
                    yield line.decode("utf-8-sig", "replace")
        if not line.endswith(b"\n"):
            raise UserError(f"{self.path}: its last line has no end: it may have been cut off")


def what_it_is(path: Path) -> str:
    """What a file is and what would help, or an empty string if its first bytes do not say."""
    first = _start(path)
    for magic, said in MAGIC.items():
        if first.startswith(magic):
            return said
    if PICKLE.match(first):
        return "a pickle, which may run code and is not opened"
    return BINARY if CONTROL.search(first) else ""


def check_encoding(path: Path) -> None:
    """Refuse a text file that does not start as UTF-8."""
    first = _start(path)
    if first.startswith(UTF16) or b"\0" in first[:4]:
        raise UserError(f"{path}: in UTF-16: convert it by iconv -f UTF-16 -t UTF-8")
    if CONTROL.search(first):
        raise UserError(f"{path}: {what_it_is(path) or BINARY}, not text")
    try:
        first.decode()
    except UnicodeDecodeError as error:
        if error.start < len(first) - 3:  # else only the last letter is cut in two
            raise UserError(
                f"{path}: not in UTF-8, but perhaps in Latin-1: convert it by "
                "iconv -f LATIN1 -t UTF-8"
            ) from None


def _start(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(2**16)


def _distinct(names: list[str]) -> list[str]:
    """Names of columns; a second `x` becomes `x.1`, as in pandas."""
    return [f"{n}.{names[:i].count(n)}" if n in names[:i] else n for i, n in enumerate(names)]


def _numbers(cells: list[str]) -> bool:
    try:
        return bool(list(map(float, cells)))
    except ValueError:
        return False


def _count_last_numbers(cells: list[str]) -> int:
    numbers = takewhile(lambda cell: _vector([cell]) is not None, reversed(cells))
    return sum(1 for _ in numbers)


def _vector(cells: list[str]) -> np.ndarray | None:
    try:
        return np.array(cells, np.float64)
    except ValueError:
        return None
