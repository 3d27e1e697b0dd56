"""A finish: every small change of the best text, once nothing else has helped for a while."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from weakref import WeakKeyDictionary

from nanov2t.models.editor import Editor
from nanov2t.search.base import Proposer
from nanov2t.search.population import stalled
from nanov2t.search.state import SearchState

PATIENCE = 3
"""Rounds without gain after which it begins."""
LONGEST = 48
"""Tokens of the longest text whose neighbourhood is tried: its size grows with their cube."""


class Neighbours(Proposer):
    """The whole neighbourhood of the best text that was not tried so before: each of the most
    frequent words put in every place and every gap, every span moved anywhere.

    What is left when a population stalls is often a word so frequent that its absence hardly
    shows, or an order that no single move of another member repairs.

    Args:
        editor: reads and writes token ids.
        words: most frequent words that are tried; with none, it proposes nothing.
    """

    name = "neighbours"

    def __init__(self, editor: Editor, words: int):
        self.editor = editor
        self.words = editor.frequent_words[:words]
        self._tried: WeakKeyDictionary[SearchState, set[str]] = WeakKeyDictionary()

    def propose(self, states: Sequence[SearchState]) -> list[list[str]]:
        return [self._around(state) if self._due(state) else [] for state in states]

    def exhausted(self, state: SearchState) -> bool:
        return False

    def _due(self, state: SearchState) -> bool:
        return bool(self.words and state.population) and stalled(state) >= PATIENCE

    def _around(self, state: SearchState) -> list[str]:
        tried = self._tried.setdefault(state, set())
        fresh = next((member for member in state.population if member.text not in tried), None)
        if fresh is None:
            return []
        tried.add(fresh.text)
        ids = fresh.ids
        if len(ids) > LONGEST:
            return []
        rows = [*self._with_words(ids), *_rearranged(ids)]
        return self.editor.decode(list(dict.fromkeys(rows)))

    def _with_words(self, ids: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        for word in self.words:
            for place in range(len(ids) + 1):
                yield (*ids[:place], word, *ids[place:])
            for place in range(len(ids)):
                yield (*ids[:place], word, *ids[place + 1 :])


def _rearranged(ids: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """The ids with one span moved, for every span and every place."""
    for start in range(len(ids)):
        for end in range(start + 1, len(ids) + 1):
            span, rest = ids[start:end], ids[:start] + ids[end:]
            for place in range(len(rest) + 1):
                yield (*rest[:place], *span, *rest[place:])
