"""A finish: every small change of the best text, once nothing else has helped for a while."""

from __future__ import annotations

from collections.abc import Iterator
from weakref import WeakKeyDictionary

from nanov2t.models.editor import Editor
from nanov2t.search.population import PopulationProposer, stalled
from nanov2t.search.proposers.moves import LONGEST, moved, moves
from nanov2t.search.state import SearchState

PATIENCE = 3
"""Rounds without gain after which it begins."""


class Neighbours(PopulationProposer):
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

    def suggest(self, state: SearchState) -> list[str]:
        if not self.words or stalled(state) < PATIENCE:
            return []
        tried = self._tried.setdefault(state, set())
        fresh = next((member for member in state.population if member.text not in tried), None)
        if fresh is None:
            return []
        tried.add(fresh.text)
        ids = fresh.ids
        if len(ids) > LONGEST:
            return []
        rows = [*self._with_words(ids), *(moved(ids, *move) for move in moves(len(ids)))]
        return self.editor.decode(list(dict.fromkeys(rows)))

    def _with_words(self, ids: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        for word in self.words:
            for place in range(len(ids) + 1):
                yield (*ids[:place], word, *ids[place:])
            for place in range(len(ids)):
                yield (*ids[:place], word, *ids[place + 1 :])
