"""The loop of every search that goes by rounds: propose, rank, stop."""

from __future__ import annotations

import itertools
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from nanov2t.align.alignment import Seen
from nanov2t.core.vectors import cosine
from nanov2t.embedders.base import Embedder
from nanov2t.search.options import UNLIMITED, Budget, SearchOptions
from nanov2t.search.state import (
    EmbeddedHypothesis,
    Hypothesis,
    Inversion,
    OnRound,
    SearchState,
    Stopped,
)
from nanov2t.targets import Target

NEAREST = 400
"""Texts judged by another embedder that are kept to learn from."""
H = TypeVar("H", bound=Hypothesis)


class Search(ABC):
    """Turns targets into texts. The default limits hold where the options set none."""

    default_rounds: int
    default_budget: Budget = UNLIMITED

    @abstractmethod
    def stream(
        self, targets: Iterable[Target], options: SearchOptions, on_round: OnRound | None = None
    ) -> Iterator[tuple[int, Inversion]]:
        """Search for targets as they come; yields the position of each and what was found for it
        as soon as its own search is over, so out of order."""


class Proposer(ABC):
    """Suggests texts whose vectors may lie nearer to the target than those found so far. A
    subclass writes :meth:`suggest`, or :meth:`propose` to look at all open searches at once."""

    name: str
    """The key of its suggestions in :attr:`SearchState.proposed`."""

    def propose(self, states: Sequence[SearchState]) -> list[list[str]]:
        """New texts for each of the open searches, one list a state. A state whose pool is empty
        is at its first guess."""
        return [self.suggest(state) for state in states]

    def suggest(self, state: SearchState) -> list[str]:
        """New texts for one search, if there are any."""
        raise NotImplementedError

    def exhausted(self, state: SearchState) -> bool:
        """Whether it has nothing more to propose while the pool stays as it is. A search converges
        when this holds of all its proposers."""
        return False


class Ranking(ABC):
    """Embeds texts and keeps the best of them in the pools."""

    def __init__(self, embedder: Embedder):
        self.embedder = embedder

    @abstractmethod
    def rank(self, states: Sequence[SearchState], suggested: Sequence[Sequence[str]]) -> None:
        """Judge the texts that were suggested for each state, and renew its pool."""


class BestSoFar(Ranking):
    """Keeps the best of all texts, so the pool never gets worse, and embeds no text twice."""

    def rank(self, states: Sequence[SearchState], suggested: Sequence[Sequence[str]]) -> None:
        unseen = [
            list(dict.fromkeys(text for text in texts if text not in state.cosines))
            for state, texts in zip(states, suggested, strict=True)
        ]
        unique = list(dict.fromkeys(text for texts in unseen for text in texts))
        vectors = dict(zip(unique, self.embedder.encode(unique), strict=True))
        for state, texts in zip(states, unseen, strict=True):
            judged = judge(state, texts, [vectors[text] for text in texts])
            state.cosines.update((hypothesis.text, hypothesis.cosine) for hypothesis in judged)
            state.embedder_calls += len(texts)
            state.pool = best([*state.pool, *judged], state.options.beam)


def judge(
    state: SearchState, texts: Sequence[str], own: Sequence[np.ndarray] | np.ndarray
) -> list[EmbeddedHypothesis]:
    """Compare texts with the target; `own` are their vectors by the reader, float32 [n, dim]."""
    if not texts:
        return []
    target = state.target
    own = np.asarray(own)
    made = target.judge.embed(texts, own)
    cosines = cosine(target.judge.defend(made), target.held[None])
    alignment, goal = target.judge.alignment, target.undefended
    if alignment is not None and goal is not None:
        whitened = alignment.whitened(made)
        seen = Seen(whitened @ alignment.whitened(goal[None])[0], whitened, own)
        known = state.nearest or target.seen
        if known is not None:
            seen = Seen(*(np.concatenate(pair) for pair in zip(known, seen, strict=True)))
        order = np.argsort(-seen.cosines, kind="stable")[:NEAREST]
        state.nearest = Seen(*(column[order] for column in seen))
    rows = zip(texts, cosines.tolist(), own, strict=True)
    return [EmbeddedHypothesis(*row) for row in rows]


def best(hypotheses: Iterable[H], count: int) -> list[H]:
    """The `count` best, best first; ties go by the alphabet, so that runs agree."""
    return sorted(hypotheses, key=lambda h: (-h.cosine, h.text))[:count]


class RoundSearch(Search):
    """A search of proposers, a ranking and a stopping rule.

    In a round all proposers suggest texts, which are then ranked together. A vector whose search is
    over makes room for the next one, so memory does not grow with the number of vectors.

    Args:
        stopping: why a search is over, or None, given whether all proposers are exhausted.
        batch: vectors searched at a time, unless the options say.
        together: whether all open searches share the networks' batches. If not, what is found for
            a vector does not depend, to the last bit, on the others.
    """

    def __init__(
        self,
        proposers: list[Proposer],
        ranking: Ranking,
        stopping: Callable[[SearchState, bool], Stopped | None],
        default_rounds: int,
        batch: int,
        together: bool = True,
        default_budget: Budget = UNLIMITED,
    ):
        self.proposers, self.ranking, self.stopping = proposers, ranking, stopping
        self.default_rounds, self.batch = default_rounds, batch
        self.together, self.default_budget = together, default_budget

    def stream(
        self, targets: Iterable[Target], options: SearchOptions, on_round: OnRound | None = None
    ) -> Iterator[tuple[int, Inversion]]:
        if options.rounds is None:
            options = replace(options, rounds=self.default_rounds)
        if options.budget == UNLIMITED:
            options = replace(options, budget=self.default_budget)
        batch = options.batch or self.batch
        waiting = enumerate(targets)
        states: list[SearchState] = []
        while True:
            began = time.perf_counter()
            places = batch - len(states)
            fresh = [SearchState(i, t, options) for i, t in itertools.islice(waiting, places)]
            states = fresh + states
            if not states:
                return
            for group in [states] if self.together else [[state] for state in states]:
                self._round(group)
            share = (time.perf_counter() - began) / len(states)
            for state in states:
                closed = state.close_round(share)
                if on_round:
                    on_round(state.index, closed)
            still_open = []
            for state in states:
                stopped = self.stopping(state, all(p.exhausted(state) for p in self.proposers))
                if stopped is None:
                    still_open.append(state)
                else:
                    yield state.index, state.inversion(stopped)
            states = still_open

    def _round(self, states: list[SearchState]) -> None:
        names = [proposer.name for proposer in self.proposers]
        proposed = list(zip(*(p.propose(states) for p in self.proposers), strict=True))
        suggested = [within(s.wanted, texts) for s, texts in zip(states, proposed, strict=True)]
        self.ranking.rank(states, suggested)
        for state, texts in zip(states, proposed, strict=True):
            state.proposed = dict(zip(names, texts, strict=True))


def within(room: float, suggested: Sequence[list[str]]) -> list[str]:
    """The texts of several proposers; if they exceed the room, equally many of each, best first."""
    texts = list(itertools.chain(*suggested))
    if len(texts) <= room:
        return texts
    rows = itertools.zip_longest(*suggested)
    return [text for row in rows for text in row if text is not None][: int(room)]
