"""Common words: the small words of a language in every place of the best text."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from nanov2t.embedders.base import Embedder
from nanov2t.models.editor import Editor
from nanov2t.search.population import PopulationProposer, offset_of, stalled, unseen
from nanov2t.search.state import Member, SearchState

FREQUENT, LIKELY = 250, 80
"""The most frequent words, and those with the most evidence, that are tried in every place."""
READ = 256
"""Texts that the reader embeds for their forecasts. The sums of states that texts would have choose
them: of thousands, these keep the right one nearly always, and cost little."""
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

    @torch.inference_mode()
    def suggest(self, state: SearchState) -> list[str]:
        if not stalled(state) or state.nearest is None:
            return []
        nearest = max(state.population, key=lambda member: member.cosine)
        ids = nearest.ids
        known, waiting = self._waiting.get(state, ((), iter(())))
        if ids != known:
            waiting = iter(self._neighbours(state, nearest))
            self._waiting[state] = ids, waiting
        return list(itertools.islice(waiting, COUNT))

    def _neighbours(self, state: SearchState, member: Member) -> list[str]:
        """The texts around one, best forecast first."""
        alignment, vector = state.target.judge.alignment, state.target.undefended
        seen = state.nearest
        assert alignment is not None and vector is not None and seen is not None
        assert state.target.evidence is not None
        likely = np.argsort(-state.target.evidence, kind="stable")[:LIKELY].tolist()
        words = list(dict.fromkeys([*likely, *self.editor.frequent_words[:FREQUENT]]))
        rows, sums = self._edited(member, words)
        rough = alignment.forecast(vector, seen, self.reader.of_mean(sums).cpu().numpy())
        best = np.argsort(-rough, kind="stable")[:READ]
        texts = unseen(state, self.editor.decode([rows[i] for i in best]), READ)
        worth = alignment.forecast(vector, seen, self.reader.encode(texts))
        return [texts[i] for i in np.argsort(-worth, kind="stable")]

    def _edited(self, member: Member, words: list[int]) -> tuple[list[tuple[int, ...]], Tensor]:
        """A text with each word in every place and every gap, and without each of its own: token
        ids, and about the sums of their states, float32 [n, hidden]."""
        ids, hidden, average = member.ids, member.states.float(), self.editor.word_states
        added, total = average[words], hidden.sum(0)
        replaced = (total - average[list(ids)])[:, None] + added
        inserted = (total + offset_of(member, average) + added).expand(len(ids) + 1, -1, -1)
        deleted = total - hidden[1:-1] if len(ids) > 1 else hidden[:0]
        places = range(len(ids) + 1)
        rows = [(*ids[:i], word, *ids[i + 1 :]) for i in places[:-1] for word in words]
        rows += [(*ids[:i], word, *ids[i:]) for i in places for word in words]
        rows += [(*ids[:i], *ids[i + 1 :]) for i in places[: len(deleted)]]
        return rows, torch.cat([replaced.flatten(0, 1), inserted.flatten(0, 1), deleted])
