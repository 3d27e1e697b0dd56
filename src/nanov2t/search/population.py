"""What evolution keeps of a vector: a population judged roughly, its best judged exactly."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from nanov2t.search.ranking import Ranking, best, judge
from nanov2t.search.state import Hypothesis, SearchState

PLACES = 8
"""Members of a population for each place of the sequence beam."""
GAIN = 1e-4
"""Difference of cosine that counts as a gain."""
CHECKED = 4
"""Texts that are judged exactly together, while one that was judged roughly seems the best."""


class Population(Ranking):
    """Keeps a population, and in the pool the best texts of all populations of the search.

    Texts are judged in the number format that is multiplied fastest, which may move a cosine by
    1e-3. The one in front of the pool is always judged exactly: the answer never gets worse. A
    population that starts anew may meet texts that were embedded before; they are taken in again,
    and not embedded again.
    """

    def rank(self, states: Sequence[SearchState], suggested: Sequence[Sequence[str]]) -> None:
        suggested = [
            [text for text in texts if text or not state.pool]  # only a draft may be empty
            for state, texts in zip(states, suggested, strict=True)
        ]
        unseen = [
            list(dict.fromkeys(text for text in texts if text not in state.cosines))
            for state, texts in zip(states, suggested, strict=True)
        ]
        vectors = iter(self.embedder.encode_roughly([t for texts in unseen for t in texts]))
        for state, texts, fresh in zip(states, suggested, unseen, strict=True):
            judged = judge(state, fresh, [next(vectors) for _ in fresh])
            self._note(state, judged)
            if not self.embedder.rough:
                state.exact.update(fresh)
            size = PLACES * state.options.beam
            state.pool = best([*state.pool, *judged], size)
            members = dict.fromkeys([*(h.text for h in state.population), *texts])
            population = [Hypothesis(text, state.cosines[text]) for text in members]
            state.population = best(population, size)
        self._check(states)
        for state in states:
            state.progress.append(state.population[0].cosine)

    def _check(self, states: Sequence[SearchState]) -> None:
        """Judge exactly until the best of each pool is one that was."""
        while todo := [s for s in states if s.pool[0].text not in s.exact]:
            chosen = [[h for h in s.pool if h.text not in s.exact][:CHECKED] for s in todo]
            vectors = iter(self.embedder.encode([h.text for hs in chosen for h in hs]))
            for state, hypotheses in zip(todo, chosen, strict=True):
                texts = [h.text for h in hypotheses]
                judged = judge(state, texts, [next(vectors) for _ in texts])
                self._note(state, judged)
                state.exact.update(texts)
                others = [h for h in state.pool if h not in hypotheses]
                state.pool = best([*others, *judged], len(state.pool))

    def _note(self, state: SearchState, judged: Sequence[Hypothesis]) -> None:
        state.embedder_calls += len(judged)
        state.cosines.update((hypothesis.text, hypothesis.cosine) for hypothesis in judged)


def dice(state: SearchState, purpose: str) -> np.random.Generator:
    """Random numbers that depend on the target, the round and the purpose alone, so that a search
    is the same whatever it runs beside."""
    target = zlib.crc32(state.target.vector.tobytes())
    return np.random.default_rng([target, len(state.history), zlib.crc32(purpose.encode())])


def parents(state: SearchState, count: int) -> list[str]:
    """The best text of a population and others of it, the likelier the better they rank; none
    where there is no population yet."""
    population = state.population
    if not population:
        return []
    weights = 1 / (1 + np.arange(len(population)))
    drawn = dice(state, "parents").choice(
        len(population),
        min(count - 1, len(population)),
        replace=False,
        p=weights / weights.sum(),
    )
    return [population[i].text for i in dict.fromkeys([0, *drawn.tolist()])]


def stalled(state: SearchState) -> int:
    """Rounds since the best cosine of the population last grew."""
    progress = state.progress
    if not progress:
        return 0
    return sum(1 for cosine in progress[:-1] if cosine > progress[-1] - GAIN)
