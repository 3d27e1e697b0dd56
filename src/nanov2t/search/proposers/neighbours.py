"""Neighbours: the texts around the nearest one, by the forecasts of an alignment."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from nanov2t.embedders.base import Embedder
from nanov2t.models.editor import Editor, exchanged
from nanov2t.search.population import PopulationProposer, offset_of, stalled, unseen
from nanov2t.search.proposers.moves import disorder, exchanges
from nanov2t.search.state import Member, SearchState

FREQUENT, LIKELY = 250, 80
"""The most frequent words, and those with the most evidence, that are tried in every place."""
EDITED, ORDERED = 256, 384
"""Texts with one edit, and in another order, that the reader embeds for their forecasts. Sums of
states choose the edits: of thousands, they keep the right one nearly always. They know no order,
so the orders are those that move the fewest words."""
COUNT = 48
"""Texts of a round."""


class Neighbours(PopulationProposer):
    """Once a search for another embedder's vector stalls, looks all around its nearest text: the
    commonest and the likeliest words in every place and gap, the text without each of its words,
    and two spans exchanged. The best forecasts go first, some more in every round. Networks that
    know the target's place only roughly do not find that `at` should be `in`; and forecasts know
    the order of words better than a language model does.

    Args:
        editor: knows the words, and writes token ids.
        reader: embeds the texts.
    """

    name = "neighbours"

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
        known, waiting = self._waiting.get(state, ((), iter(())))
        if nearest.ids != known:
            waiting = iter(self._neighbours(state, nearest))
            self._waiting[state] = nearest.ids, waiting
        return list(itertools.islice(waiting, COUNT))

    def _neighbours(self, state: SearchState, member: Member) -> list[str]:
        """The texts around one, best forecast first."""
        alignment, vector = state.target.judge.alignment, state.target.undefended
        seen, evidence, ids = state.nearest, state.target.evidence, member.ids
        assert alignment is not None and vector is not None
        assert seen is not None and evidence is not None
        likely = np.argsort(-evidence, kind="stable")[:LIKELY].tolist()
        words = list(dict.fromkeys([*likely, *self.editor.frequent_words[:FREQUENT]]))
        edited, sums = self._edited(member, words)
        rough = alignment.forecast(vector, seen, self.reader.of_mean(sums).cpu().numpy())
        rows = [edited[i] for i in np.argsort(-rough, kind="stable")[:EDITED]]
        if len(ids) > 1:
            moves = exchanges(len(ids))
            order = np.argsort(disorder(*moves.T), kind="stable")[:ORDERED]
            rows += [exchanged(ids, *move) for move in moves[order].tolist()]
        texts = unseen(state, self.editor.decode(rows), len(rows))
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
