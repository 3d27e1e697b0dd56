"""What evolution keeps of a vector: a population judged roughly, its best judged exactly."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from nanov2t.search.ranking import BestSoFar, best, judge
from nanov2t.search.state import EmbeddedHypothesis, SearchState

PLACES = 8
"""Members of a population for each place of the sequence beam."""
GAIN = 1e-4
"""Difference of cosine that counts as a gain."""
CHECKED = 4
"""Texts that are judged exactly together, while one that was judged roughly seems the best."""


class Population(BestSoFar):
    """The pool holds the best texts of the search, many more than a sequence beam.

    Most are judged in the number format that is multiplied fastest, which moves a cosine by up to
    1e-3. The one in front is always judged exactly: the answer never gets worse.
    """

    def rank(self, states: Sequence[SearchState], suggested: Sequence[Sequence[str]]) -> None:
        if not self.embedder.rough:
            super().rank(states, suggested)
            return
        unseen = [
            list(dict.fromkeys(text for text in texts if text not in state.cosines))
            for state, texts in zip(states, suggested, strict=True)
        ]
        vectors = iter(self.embedder.encode_roughly([t for texts in unseen for t in texts]))
        for state, texts in zip(states, unseen, strict=True):
            judged = judge(state, texts, [next(vectors) for _ in texts])
            state.cosines.update((hypothesis.text, hypothesis.cosine) for hypothesis in judged)
            state.embedder_calls += len(texts)
            state.pool = best([*state.pool, *judged], self.size(state))
        self._check(states)

    def size(self, state: SearchState) -> int:
        return PLACES * state.options.beam

    def _check(self, states: Sequence[SearchState]) -> None:
        """Judge exactly until the best of each pool is one that was."""
        while todo := [s for s in states if s.pool[0].text not in s.exact]:
            chosen = [[h for h in s.pool if h.text not in s.exact][:CHECKED] for s in todo]
            vectors = iter(self.embedder.encode([h.text for hs in chosen for h in hs]))
            for state, hypotheses in zip(todo, chosen, strict=True):
                texts = [h.text for h in hypotheses]
                judged = judge(state, texts, [next(vectors) for _ in texts])
                state.exact.update(texts)
                state.embedder_calls += len(texts)
                state.cosines.update((h.text, h.cosine) for h in judged)
                others = [h for h in state.pool if h not in hypotheses]
                state.pool = best([*others, *judged], len(state.pool))


def dice(state: SearchState, purpose: str) -> np.random.Generator:
    """Random numbers that depend on the target, the round and the purpose alone, so that a search
    is the same whatever it runs beside."""
    target = zlib.crc32(state.target.vector.tobytes())
    return np.random.default_rng([target, len(state.history), zlib.crc32(purpose.encode())])


def parents(state: SearchState, count: int) -> list[EmbeddedHypothesis]:
    """The best of a population and others of it, the likelier the better they rank."""
    pool = state.pool
    weights = 1 / (1 + np.arange(len(pool)))
    size = min(count - 1, len(pool))
    drawn = dice(state, "parents").choice(len(pool), size, replace=False, p=weights / weights.sum())
    return [pool[i] for i in dict.fromkeys([0, *drawn.tolist()])]


def stalled(state: SearchState) -> int:
    """Rounds since the best cosine last grew."""
    history = state.history
    if not history:
        return 0
    best = history[-1].cosine
    return sum(1 for closed in history[:-1] if closed.cosine > best - GAIN)
