"""The population of a search for the vector of another embedder than the reader."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from nanov2t.search.population import Population, fittest_first
from nanov2t.search.ranking import best
from nanov2t.search.state import SIFTED, Hypothesis, Member, SearchState
from nanov2t.search.surface import Styled, Surface

JUDGED = 128
"""Texts that are judged in a round, at most."""
LEARNING = 3
"""Rounds after which the target's place is learnt again."""


class AlignedPopulation(Population):
    """Every judgement may cost money, so only the texts with the best forecasts are judged. They
    are written as the target seems to be; and what was judged shows where the target lies."""

    def rank(self, states: Sequence[SearchState], suggested: Sequence[Sequence[str]]) -> None:
        for state in states:
            if not state.pool and state.target.judge.alignment is not None:
                state.surface = Surface.of(state.target.judge.alignment)
        super().rank(states, [self._new(*pair) for pair in zip(states, suggested, strict=True)])
        for state in states:
            if len(state.history) % LEARNING == 0:
                self._learn(state)
                state.progress[-1] = state.population[0].fitness

    def _new(self, state: SearchState, texts: Sequence[str]) -> list[str]:
        """Without texts that, as they would be written, were judged."""
        unique = dict.fromkeys(texts)
        written = dict(zip(self._write(state, list(unique)), unique, strict=True))
        state.plain.update(text for w, text in written.items() if w in state.cosines)
        return [text for w, text in written.items() if w not in state.cosines]

    def _write(self, state: SearchState, texts: list[str]) -> list[str]:
        return texts if state.surface is None else [state.surface.write(text) for text in texts]

    def _choose(self, state: SearchState, texts: list[str], own: np.ndarray) -> list[int]:
        """Choose the plain texts with the best forecasts, and every styled text: the reader sees
        neither case nor blanks, so it cannot forecast what a style is worth."""
        styled = [i for i, text in enumerate(texts) if isinstance(text, Styled)]
        plain = np.array([i for i, text in enumerate(texts) if not isinstance(text, Styled)], int)
        count = min(-(-len(plain) // SIFTED), JUDGED)
        if count:
            plain = plain[np.argsort(-self._forecast(state, own[plain]), kind="stable")[:count]]
        chosen = sorted([*styled, *plain.tolist()][: int(min(len(texts), state.room))])
        state.plain.update(texts[i] for i in chosen)
        return chosen

    def _forecast(self, state: SearchState, own: np.ndarray) -> np.ndarray:
        alignment, vector = state.target.judge.alignment, state.target.undefended
        seen = state.nearest or state.target.seen
        assert alignment is not None and vector is not None and seen is not None
        return alignment.forecast(vector, seen, own)

    def _fittest(self, state: SearchState, members: Sequence[Member]) -> list[Member]:
        """Without texts that differ from a nearer one in case and blanks alone."""
        found: dict[tuple[int, ...], Member] = {}
        for member in best(members, len(members)):
            found.setdefault(member.row, member)
        return super()._fittest(state, list(found.values()))

    def _note(self, state: SearchState, judged: Sequence[Hypothesis]) -> None:
        super()._note(state, judged)
        state.exact.update(hypothesis.text for hypothesis in judged)

    def _learn(self, state: SearchState) -> None:
        """Find out anew where the target lies in the reader's space, and read all texts anew."""
        alignment, vector = state.target.judge.alignment, state.target.undefended
        assert alignment is not None and vector is not None and state.nearest is not None
        place = alignment.learn(vector, state.nearest)
        state.target = replace(state.target, vector=place)
        if self.hypothesizer is None:
            return
        for name in ("population", "former", "elite"):
            members = [replace(member, fluency=None) for member in getattr(state, name)]
            read = self._read(self.hypothesizer, state, members)
            setattr(state, name, sorted(read, key=fittest_first))
