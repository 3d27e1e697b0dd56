"""Propose, rank, stop: the loop of every search that goes by rounds."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from nanov2t.search.base import OnRound, Proposer, Search
from nanov2t.search.options import UNLIMITED, Budget, SearchOptions
from nanov2t.search.ranking import Ranking
from nanov2t.search.state import Inversion, SearchState, Stopped
from nanov2t.targets import Target

Stopping = Callable[[SearchState, bool], Stopped | None]
"""Why the search of a state is over, or None, given whether all proposers are exhausted."""


class RoundSearch(Search):
    """A search of proposers, a ranking and a stopping rule.

    A round has steps. The proposers of a step suggest texts side by side, which are then ranked
    together; those of a later step build on how the texts of the earlier ones were judged. A vector
    leaves the batch as soon as its own search is over, and the next one takes its place, so memory
    does not grow with the number of vectors.

    Args:
        steps: the proposers of each step of a round.
        ranking: embeds what is suggested and keeps the best.
        stopping: says when a search is over.
        default_rounds, default_budget: limits where the options set none.
        batch: vectors searched at a time, where the options do not say.
        together: whether the texts of all vectors that are searched go through the networks
            together. Where each vector alone fills their batches, apart costs nothing, and what is
            found for it cannot depend, to the last bit, on the others.
    """

    def __init__(
        self,
        steps: Sequence[Sequence[Proposer]],
        ranking: Ranking,
        stopping: Stopping,
        default_rounds: int,
        batch: int,
        together: bool = True,
        default_budget: Budget = UNLIMITED,
    ):
        self.steps, self.ranking, self.stopping = steps, ranking, stopping
        self.default_rounds, self.batch = default_rounds, batch
        self.together, self.default_budget = together, default_budget

    def stream(
        self,
        targets: Iterable[Target],
        options: SearchOptions,
        on_round: OnRound | None = None,
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
                stopped = self.stopping(state, self._exhausted(state))
                if stopped is None:
                    still_open.append(state)
                else:
                    yield state.index, state.inversion(stopped)
            states = still_open

    def _round(self, states: list[SearchState]) -> None:
        proposed: list[dict[str, list[str]]] = [{} for _ in states]
        for step in self.steps:
            for proposer in step:
                for by_name, texts in zip(proposed, proposer.propose(states), strict=True):
                    by_name[proposer.name] = texts
            names = [proposer.name for proposer in step]
            suggested = [
                within(state.wanted, [by_name[name] for name in names])
                for state, by_name in zip(states, proposed, strict=True)
            ]
            self.ranking.rank(states, suggested)
        for state, by_name in zip(states, proposed, strict=True):
            state.proposed = by_name

    def _exhausted(self, state: SearchState) -> bool:
        return all(proposer.exhausted(state) for step in self.steps for proposer in step)


def within(room: float, suggested: Sequence[list[str]]) -> list[str]:
    """The texts of several proposers; if they exceed the room, equally many of each, best first."""
    texts = list(itertools.chain(*suggested))
    if len(texts) <= room:
        return texts
    rows = itertools.zip_longest(*suggested)
    return [text for row in rows for text in row if text is not None][: int(room)]
