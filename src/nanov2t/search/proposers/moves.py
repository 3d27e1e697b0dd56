"""Moves: the same words in another order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nanov2t.models.editor import Editor
from nanov2t.search.base import Proposer
from nanov2t.search.population import dice, parents
from nanov2t.search.state import SearchState


class Moves(Proposer):
    """Spans of a text moved to another place, and pairs of its words swapped, at random.

    Args:
        editor: reads and writes token ids.
        count: parents of a round.
        moves: of a parent, and half as many swaps.
    """

    name = "moves"

    def __init__(self, editor: Editor, count: int, moves: int):
        self.editor, self.count, self.moves = editor, count, moves

    def propose(self, states: Sequence[SearchState]) -> list[list[str]]:
        chosen = [parents(state, self.count) for state in states]
        ids = iter(self.editor.encode([text for texts in chosen for text in texts]))
        rows: list[tuple[int, ...]] = []
        counts = []
        for state, texts in zip(states, chosen, strict=True):
            random = dice(state, self.name)
            before = len(rows)
            for _ in texts:
                row = next(ids)
                if len(row) > 1:
                    rows += [_move(row, random) for _ in range(self.moves)]
                    rows += [_swap(row, random) for _ in range(self.moves // 2)]
            counts.append(len(rows) - before)
        children = iter(self.editor.decode(rows))
        return [[next(children) for _ in range(count)] for count in counts]

    def exhausted(self, state: SearchState) -> bool:
        return False


def _move(row: tuple[int, ...], random: np.random.Generator) -> tuple[int, ...]:
    """A span of at most half the text, cut out and put elsewhere."""
    length = int(random.integers(1, max(1, len(row) // 2) + 1))
    start = int(random.integers(0, len(row) - length + 1))
    rest = row[:start] + row[start + length :]
    place = int(random.integers(0, len(rest) + 1))
    return rest[:place] + row[start : start + length] + rest[place:]


def _swap(row: tuple[int, ...], random: np.random.Generator) -> tuple[int, ...]:
    i, j = random.choice(len(row), 2, replace=False)
    swapped = list(row)
    swapped[i], swapped[j] = row[j], row[i]
    return tuple(swapped)
