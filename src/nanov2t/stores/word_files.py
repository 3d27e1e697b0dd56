"""Text files with a vector on each line, after its word, as word2vec and GloVe write them."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from nanov2t.core.errors import UserError
from nanov2t.core.files import file_fingerprint
from nanov2t.stores.base import HEAD, ForwardStore, NoRows
from nanov2t.stores.magic import check_encoding
from nanov2t.stores.values import NOT_NUMBERS


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
        head = [line.split() for line in itertools.islice(self._lines(), HEAD)]
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
        for line in itertools.islice(self._lines(), self.has_counts, None):
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


def _count_last_numbers(cells: list[str]) -> int:
    numbers = itertools.takewhile(lambda cell: _vector([cell]) is not None, reversed(cells))
    return sum(1 for _ in numbers)


def _vector(cells: list[str]) -> np.ndarray | None:
    try:
        return np.array(cells, np.float64)
    except ValueError:
        return None
