"""First guesses of a prefix language model."""

from __future__ import annotations

import numpy as np
import torch

from nanov2t.models.editor import Editor
from nanov2t.models.reading import CHOICES, Hypothesizer
from nanov2t.search.population import PopulationProposer, dice, fittest_first, stalled, unseen
from nanov2t.search.state import SearchState

JOINED = 32
"""Members of each of two populations that are joined."""
ELITE = 8
"""Members kept, of populations that stalled."""
ROOM, DRAWN = 1.3, 2
"""For another embedder's vector: times that its first guesses may be as long as its text seems to
be, and times as many that are drawn as are written by beam search."""
LONGER = 3
"""Tokens by which a guess may be longer than the best text so far."""


class FirstGuesses(PopulationProposer):
    """Opens each search: with the draft that it was given, else with guesses of a model; without a
    model, with the most frequent words. Where a population has stalled, a new one starts from
    guesses drawn at random; where that has stalled too, the two are joined, for what each of them
    has found is often what the other lacks.

    Args:
        hypothesizer: writes the guesses.
        editor: knows the words.
        count: guesses for each target.
        patience: rounds without gain after which a population has stalled.
    """

    name = "hypothesizer"

    def __init__(
        self, hypothesizer: Hypothesizer | None, editor: Editor, count: int, patience: int
    ):
        self.hypothesizer, self.editor = hypothesizer, editor
        self.count, self.patience = count, patience

    def exhausted(self, state: SearchState) -> bool:
        return bool(state.pool) and self.hypothesizer is None

    def suggest(self, state: SearchState) -> list[str]:
        if not state.pool:
            return self._open(state)
        if self.hypothesizer is None or stalled(state) < self.patience:
            return []
        state.progress = []
        known = {member.text for member in state.elite}
        if state.population[0].text not in known:
            state.elite = [*state.elite, state.population[0]][-ELITE:]
        if state.former:
            both = [*state.population[:JOINED], *state.former]
            state.population, state.former = sorted(both, key=fittest_first), []
            return []
        steps = len(state.population[0].ids) + LONGER
        texts = self._draw(self.hypothesizer, state, steps, self.count)
        drawn = unseen(state, [t for t in texts if t], self.count)
        if drawn:
            state.former, state.population = state.population[:JOINED], []
        return drawn

    def _open(self, state: SearchState) -> list[str]:
        if state.target.draft is not None:
            return [state.target.draft]
        if self.hypothesizer is None:
            return self.editor.decode([[word] for word in self.editor.frequent_words[: self.count]])
        target, count = state.target, self.count
        if target.tokens is None:
            return self.hypothesizer.hypothesize(target.vector, count)
        # The target's place is roughly known, so guesses must be many and unlike each other.
        longest = round(ROOM * target.tokens) + LONGER
        likeliest = self.hypothesizer.hypothesize(target.vector, count, longest, target.evidence)
        return [*likeliest, *self._draw(self.hypothesizer, state, longest, DRAWN * count)]

    def _draw(
        self, hypothesizer: Hypothesizer, state: SearchState, longest: int, count: int
    ) -> list[str]:
        """Guesses of at most `longest` tokens, drawn at random."""
        steps = min(longest, hypothesizer.limit)
        noise = dice(state, self.name).gumbel(size=(count, steps, CHOICES))
        drawn = torch.from_numpy(noise.astype(np.float32))
        return self.editor.decode(
            hypothesizer.read(state.target.vector, state.target.evidence).draw(drawn)
        )
