"""Common words: the small words of a language in every place of the best text."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from weakref import WeakKeyDictionary

import numpy as np

from nanov2t.embedders.base import Embedder
from nanov2t.models.editor import Editor
from nanov2t.search.population import PopulationProposer, stalled
from nanov2t.search.state import SearchState

REPLACING, INSERTED, LIKELY = 160, 60, 40
"""Most frequent words that replace each word, and that are inserted in each gap; and the words with
the most evidence, which do both."""
COUNT = 48
"""Texts of a round."""


class Common(PopulationProposer):
    """Once a search for another embedder's vector stalls, tries the commonest and the likeliest
    words in every place and gap of its nearest text, and the text without each of its words, in the
    order of their forecasts, some more in every round. Networks that know the target's place only
    roughly do not find that `at` should be `in`.

    Args:
        editor: knows the words, and writes token ids.
        reader: embeds the texts.
    """

    name = "common words"

    def __init__(self, editor: Editor, reader: Embedder):
        self.editor, self.reader = editor, reader
        self._waiting: WeakKeyDictionary[SearchState, tuple[tuple[int, ...], Iterator[str]]] = (
            WeakKeyDictionary()
        )

    def suggest(self, state: SearchState) -> list[str]:
        if not stalled(state) or state.nearest is None:
            return []
        ids = max(state.population, key=lambda member: member.cosine).ids
        known, waiting = self._waiting.get(state, ((), iter(())))
        if ids != known:
            waiting = iter(self._neighbours(state, ids))
            self._waiting[state] = ids, waiting
        return list(itertools.islice(waiting, COUNT))

    def _neighbours(self, state: SearchState, ids: tuple[int, ...]) -> list[str]:
        """The texts around one, best forecast first."""
        alignment, vector = state.target.judge.alignment, state.target.undefended
        assert alignment is not None and vector is not None and state.nearest is not None
        assert state.target.evidence is not None
        likely = np.argsort(-state.target.evidence, kind="stable")[:LIKELY].tolist()
        words = list(dict.fromkeys([*likely, *self.editor.frequent_words[:REPLACING]]))
        rows = [(*ids[:i], *ids[i + 1 :]) for i in range(len(ids))] if len(ids) > 1 else []
        for i in range(len(ids)):
            rows += [(*ids[:i], word, *ids[i + 1 :]) for word in words]
        for i in range(len(ids) + 1):
            rows += [(*ids[:i], word, *ids[i:]) for word in words[: LIKELY + INSERTED]]
        texts = [t for t in dict.fromkeys(self.editor.decode(rows)) if not state.judged(t)]
        worth = alignment.forecast(vector, state.nearest, self.reader.encode(texts))
        return [texts[i] for i in np.argsort(-worth, kind="stable")]
