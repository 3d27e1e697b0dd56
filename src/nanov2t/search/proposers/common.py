"""Common words: the small words of a language in every place of the best text."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from nanov2t.models.editor import Editor
from nanov2t.search.population import PopulationProposer, stalled
from nanov2t.search.state import SearchState

REPLACING, INSERTED = 160, 60
"""Most frequent words that replace each word, and that are inserted in each gap."""


class Common(PopulationProposer):
    """Once a search stalls, tries the commonest words in every place and gap of its nearest text,
    and the text without each of its words. Networks that know the target's place only roughly do
    not find that `at` should be `in`. These texts are many, so they are for searches that forecast
    which texts to judge.

    Args:
        editor: knows the words, and writes token ids.
    """

    name = "common words"

    def __init__(self, editor: Editor):
        self.editor = editor
        self._tried: WeakKeyDictionary[SearchState, set[tuple[int, ...]]] = WeakKeyDictionary()

    def suggest(self, state: SearchState) -> list[str]:
        if not stalled(state) or state.nearest is None:
            return []
        ids = max(state.population, key=lambda member: member.cosine).ids
        tried = self._tried.setdefault(state, set())
        if ids in tried:
            return []
        tried.add(ids)
        words = self.editor.frequent_words
        rows = [(*ids[:i], *ids[i + 1 :]) for i in range(len(ids))] if len(ids) > 1 else []
        for i in range(len(ids)):
            rows += [(*ids[:i], word, *ids[i + 1 :]) for word in words[:REPLACING]]
        for i in range(len(ids) + 1):
            rows += [(*ids[:i], word, *ids[i:]) for word in words[:INSERTED]]
        return list(dict.fromkeys(self.editor.decode(rows)))
