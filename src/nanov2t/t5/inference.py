"""Inference: sequence beam search (Morris et al. 2023, section 3.2), ours and the published one.

    round 0        the hypothesizer writes first guesses
    every round    the corrector rewrites the best guesses so far, and the embedder judges the texts

`beam` keeps the best texts so far, so an answer never gets worse, rewrites no hypothesis twice and
embeds no text twice. `exhaustive` is nanoV2T's own loop, kept to compare with.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np

from nanov2t.core.errors import UserError
from nanov2t.embedders.base import Embedder
from nanov2t.search.base import Proposer, Search
from nanov2t.search.loop import RoundSearch
from nanov2t.search.options import EXHAUSTIVE_ROUNDS, ROUNDS, Effort
from nanov2t.search.ranking import BestSoFar, Ranking, best, judge
from nanov2t.search.state import EmbeddedHypothesis, SearchState, Stopped
from nanov2t.t5.writer import Writer

FIRST = 4
"""First guesses for each place in the pool: wide early, narrow late."""
WIDTH = 2
"""Hypotheses rewritten in a round after writing found the best one; otherwise one."""
GUESSES = 512
"""Greedy first guesses written at a time."""
BATCH = {"cpu": 32, "cuda": 512}
"""Vectors searched at a time: enough to keep a device busy."""


@dataclass(frozen=True)
class Pair:
    """The two stages of an inverter.

    Attributes:
        embedder: judges the hypotheses.
        hypothesizer: writes the first ones; None if searches start from drafts.
        corrector: rewrites them; None if there is only a first guess. The same object where one
            network is both.
        effort: how much is spent on a vector.
    """

    embedder: Embedder
    hypothesizer: Writer | None
    corrector: Writer | None
    effort: Effort = "default"

    @property
    def device(self) -> str:
        """`cpu` or `cuda`."""
        writer = self.hypothesizer or self.corrector
        return "cpu" if writer is None else writer.device.type

    def hypothesize(self, targets: Sequence[np.ndarray]) -> list[str]:
        """The greedy first guess of each target, float32 [dim]; none without a hypothesizer."""
        parts = [targets[i : i + GUESSES] for i in range(0, len(targets), GUESSES)]
        writer = self.hypothesizer
        return [str(t) for part in parts for [t] in writer.hypothesize(part, 1)] if writer else []


def beam_search(pair: Pair) -> RoundSearch:
    """First guesses, then rounds of corrections of the best hypotheses so far."""
    proposers: list[Proposer] = [Hypothesizer(pair.hypothesizer, FIRST)]
    if pair.corrector is not None:
        proposers.append(Corrector(pair.corrector))
    batch = BATCH.get(pair.device, BATCH["cpu"])
    return RoundSearch([proposers], BestSoFar(pair.embedder), stop, ROUNDS[pair.effort], batch)


def exhaustive_search(pair: Pair) -> RoundSearch:
    """nanoV2T's search. From a greedy first guess on, every round rewrites the `beam` best unique
    hypotheses of the round before into `beam` each and embeds them all again. Only
    |cosine - 1| < tolerance ends it early, and the answer is the last round's best, so it may get
    worse."""
    proposers: list[Proposer] = [Hypothesizer(pair.hypothesizer, 0)]
    if pair.corrector is not None:
        proposers.append(RewriteAll(pair.corrector))
    batch = BATCH.get(pair.device, BATCH["cpu"])
    ranking = LastRound(pair.embedder)
    return RoundSearch([proposers], ranking, stop_exhaustive, EXHAUSTIVE_ROUNDS, batch)


SEARCHES: dict[str, Callable[[Pair], Search]] = {
    "beam": beam_search,
    "exhaustive": exhaustive_search,
}


def make_search(name: str, pair: Pair) -> Search:
    """The search of that name over a pair; `default` is beam.

    Raises:
        UserError: there is no such search.
    """
    if name not in ("default", *SEARCHES):
        raise UserError(f"search {name}: not one of default, {', '.join(SEARCHES)}")
    return SEARCHES["beam" if name == "default" else name](pair)


class Hypothesizer(Proposer):
    """Opens each search with the given draft, or with guesses.

    Args:
        writer: writes the guesses; None: a search without a draft starts from an empty text.
        guesses: for each place in the pool, by beam search. One greedy guess if it is 0, or if the
            pool has one place.
    """

    name = "hypothesizer"

    def __init__(self, writer: Writer | None, guesses: int):
        self.writer, self.guesses = writer, guesses

    def propose(self, states: Sequence[SearchState]) -> list[list[str]]:
        proposed: list[list[str]] = [[] for _ in states]
        undrafted = []
        for i, state in enumerate(states):
            if state.pool:
                continue
            if state.target.draft is not None:
                proposed[i] = [state.target.draft]
            elif self.writer is None:
                proposed[i] = [""]
            else:
                undrafted.append(i)
        if self.writer is not None and undrafted:
            beam = states[0].options.beam
            beams = self.guesses * beam if self.guesses and beam > 1 else 1
            written = self.writer.hypothesize([states[i].target.vector for i in undrafted], beams)
            for i, texts in zip(undrafted, written, strict=True):
                proposed[i] = texts
        return proposed

    def exhausted(self, state: SearchState) -> bool:
        return bool(state.pool)


class Corrector(Proposer):
    """Rewrites the best hypotheses that it has not rewritten before."""

    name = "corrector"

    def __init__(self, writer: Writer):
        self.writer = writer
        self._rewritten: WeakKeyDictionary[SearchState, set[str]] = WeakKeyDictionary()

    def propose(self, states: Sequence[SearchState]) -> list[list[str]]:
        chosen = []
        for state in states:
            rewritten = self._rewritten.setdefault(state, set())
            fresh = [h for h in state.pool if h.text not in rewritten][: self._width(state)]
            rewritten.update(hypothesis.text for hypothesis in fresh)
            chosen.append(fresh)
        return rewrite(self.writer, states, chosen)

    def exhausted(self, state: SearchState) -> bool:
        return all(h.text in self._rewritten.get(state, ()) for h in state.pool)

    def _width(self, state: SearchState) -> int:
        written = [text for texts in state.proposed.values() for text in texts]
        return WIDTH if state.pool and state.pool[0].text in written else 1


class RewriteAll(Corrector):
    """Rewrites the whole pool in every round."""

    def propose(self, states: Sequence[SearchState]) -> list[list[str]]:
        return rewrite(self.writer, states, [state.pool for state in states])

    def exhausted(self, state: SearchState) -> bool:
        return False


def rewrite(
    writer: Writer,
    states: Sequence[SearchState],
    chosen: Sequence[Sequence[EmbeddedHypothesis]],
) -> list[list[str]]:
    """The `beam` best corrections of each chosen hypothesis, one list a state."""
    work = [(i, hypothesis) for i, hypotheses in enumerate(chosen) for hypothesis in hypotheses]
    corrections = writer.correct(
        [states[i].target.vector for i, _ in work],
        [hypothesis.text for _, hypothesis in work],
        [hypothesis.vector for _, hypothesis in work],
        beams=states[0].options.beam,
    )
    texts: list[list[str]] = [[] for _ in states]
    for (i, _), written in zip(work, corrections, strict=True):
        texts[i] += written
    return texts


class LastRound(Ranking):
    """The pool holds the best texts of the last round alone; every text is embedded anew."""

    def rank(self, states: Sequence[SearchState], suggested: Sequence[Sequence[str]]) -> None:
        vectors = iter(self.embedder.encode([text for texts in suggested for text in texts]))
        for state, texts in zip(states, suggested, strict=True):
            judged = judge(state, texts, list(itertools.islice(vectors, len(texts))))
            unique = {hypothesis.text: hypothesis for hypothesis in judged}
            state.pool = best(unique.values(), state.options.beam)
            state.embedder_calls += len(texts)


def stop(state: SearchState, exhausted: bool) -> Stopped | None:
    """A search ends when its best text is exact, its rounds or budget are used up, or no hypothesis
    is left to rewrite."""
    if state.pool[0].cosine >= 1 - state.target.tolerance:
        return "exact"
    return state.used_up() or ("converged" if exhausted else None)


def stop_exhaustive(state: SearchState, exhausted: bool) -> Stopped | None:
    """A search ends when its best text is exact or its rounds are used up."""
    if abs(state.pool[0].cosine - 1) < state.target.tolerance:
        return "exact"
    return "converged" if exhausted else state.used_up()
