"""First guesses of a prefix language model."""

from __future__ import annotations

import numpy as np
import torch

from nanov2t.models.editor import Editor
from nanov2t.models.guesser import Guesser
from nanov2t.models.reading import CHOICES
from nanov2t.search.population import PopulationProposer, dice, stalled, unseen
from nanov2t.search.state import SearchState


class FirstGuesses(PopulationProposer):
    """Opens each search: with the draft that it was given, else with guesses of a model; without a
    model, with the most frequent words. Where a population has stalled, a new one starts from
    guesses drawn at random.

    Args:
        guesser: writes the guesses.
        editor: knows the words.
        count: guesses for each target.
        patience: rounds without gain after which a new population starts.
    """

    name = "hypothesizer"

    def __init__(self, guesser: Guesser | None, editor: Editor, count: int, patience: int):
        self.guesser, self.editor = guesser, editor
        self.count, self.patience = count, patience

    def exhausted(self, state: SearchState) -> bool:
        return bool(state.pool) and self.guesser is None

    def suggest(self, state: SearchState) -> list[str]:
        if not state.pool:
            return self._open(state)
        if self.guesser is None or stalled(state) < self.patience:
            return []
        drawn = unseen(state, [t for t in self._draw(self.guesser, state) if t], self.count)
        if drawn:
            state.population = []
        state.progress = []
        return drawn

    def _open(self, state: SearchState) -> list[str]:
        if state.target.draft is not None:
            return [state.target.draft]
        if self.guesser is None:
            return self.editor.decode([[word] for word in self.editor.frequent_words[: self.count]])
        return self.guesser.hypothesize(state.target.vector, self.count)

    def _draw(self, guesser: Guesser, state: SearchState) -> list[str]:
        """Guesses about as long as the best text."""
        best = state.population[0].ids
        noise = dice(state, self.name).gumbel(size=(self.count, guesser.limit, CHOICES))
        rows = guesser.read(state.target.vector).rewrite(
            [best] * self.count,
            [0] * self.count,
            [{}] * self.count,
            torch.from_numpy(noise.astype(np.float32)),
        )
        return self.editor.decode(rows)
