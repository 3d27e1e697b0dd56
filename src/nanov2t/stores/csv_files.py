"""CSV and TSV files."""

from __future__ import annotations

import csv
from collections.abc import Iterator

import pyarrow as pa
from pyarrow.csv import ConvertOptions, ParseOptions, ReadOptions, open_csv

from nanov2t.stores.arrow import ArrowRows
from nanov2t.stores.base import HEAD, NoRows

BLOCK = 2**20
"""Bytes that are read at once; a row must be shorter."""


class CsvStore(ArrowRows):
    """Lists in brackets in a column, or one column a dimension; without names of the columns where
    the first line is all numbers.

    All cells are read as text, so that one that is not a number is an error of its row alone.
    """

    suffixes = (".csv", ".tsv")
    forms = ("x.csv#COLUMN", "x.csv#FIRST:LAST", "x.tsv")

    def open(self) -> tuple[pa.Schema, int]:
        self.delimiter = "\t" if self.path.suffix.lower() == ".tsv" else ","
        csv.field_size_limit(BLOCK)
        with self.path.open(newline="", encoding="utf-8-sig") as file:
            first = next(csv.reader(file, delimiter=self.delimiter), [])
        if not first:
            raise NoRows(str(self.path))
        with self.path.open("rb") as file:
            file.seek(-1, 2)
            if file.read() not in b'\n\r"':
                raise ValueError("its last line has no end: it may have been cut off")
        self.names = [str(i) for i in range(len(first))] if _numbers(first) else first
        self.named = self.names == first
        schema = pa.schema([(name, pa.string()) for name in self.names])
        return schema, sum(len(batch) for batch in self.batches(self.names[:1]))

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


def _numbers(cells: list[str]) -> bool:
    try:
        return bool(list(map(float, cells)))
    except ValueError:
        return False
