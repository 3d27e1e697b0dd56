"""CSV and TSV files."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice

import pyarrow as pa
from pyarrow.csv import ConvertOptions, ParseOptions, ReadOptions, open_csv

from nanov2t.stores.arrow import ArrowRows
from nanov2t.stores.base import HEAD, NoRows
from nanov2t.stores.magic import check_encoding

BLOCK = 2**20
"""Bytes that are read at once; a row must be shorter."""


class CsvStore(ArrowRows):
    """Vectors in a column, or one column a dimension. Columns end at commas, tabs, semicolons or
    bars; they have no names where the first line is all numbers, other than 0, 1, 2 and so on.

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
        """Its cells; they end at what splits it and the next row into as many, else at commas."""
        csv.field_size_limit(BLOCK)
        for self.delimiter in ";\t|,":
            with self.path.open(newline="", encoding="utf-8-sig") as file, suppress(csv.Error):
                rows = list(islice(csv.reader(file, delimiter=self.delimiter), 2))
                if len(rows[0]) > 1 and len(rows[0]) == len(rows[-1]):
                    break
        return rows[0]

    def batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        reader = open_csv(
            self.path,
            ReadOptions(
                use_threads=False,
                block_size=BLOCK,
                column_names=self.names,
                skip_rows=self.named,
            ),
            ParseOptions(delimiter=self.delimiter, newlines_in_values=True),
            ConvertOptions(
                column_types=dict.fromkeys(self.names, pa.string()),
                include_columns=columns,
                null_values=[""],
                strings_can_be_null=True,
            ),
        )
        for batch in reader:
            yield from (batch.slice(i, HEAD) for i in range(0, len(batch), HEAD))


def _distinct(names: list[str]) -> list[str]:
    """Names of columns, a second `x` being called `x.1`, as by pandas."""
    return [f"{n}.{names[:i].count(n)}" if n in names[:i] else n for i, n in enumerate(names)]


def _numbers(cells: list[str]) -> bool:
    try:
        return bool(list(map(float, cells)))
    except ValueError:
        return False
