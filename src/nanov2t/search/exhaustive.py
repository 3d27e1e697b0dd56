"""The published search, kept to compare with: nothing remembered, nothing left out."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from nanov2t.models.writer import HypothesisWriter
from nanov2t.search.base import Parts, Proposer
from nanov2t.search.beam import BATCH
from nanov2t.search.loop import RoundSearch
from nanov2t.search.options import EXHAUSTIVE_ROUNDS
from nanov2t.search.proposers.corrector import rewrite
from nanov2t.search.proposers.hypothesizer import Hypothesizer
from nanov2t.search.ranking import Ranking, best, judge
from nanov2t.search.state import SearchState, Stopped


def exhaustive_search(parts: Parts) -> RoundSearch:
    """Sequence-level beam search as nanoV2T runs it (after Morris et al. 2023, section 3.2).

    From a greedy first guess on, every round rewrites the `beam` best unique hypotheses of the
    round before into `beam` each and embeds them all, whether they were seen before or not. Only
    |cosine - 1| < tolerance ends a search early. The answer of a round is its own best, so it may
    get worse.
    """
    proposers: list[Proposer] = [Hypothesizer(parts.hypothesizer, guesses=0)]
    if parts.corrector is not None:
        proposers.append(RewriteAll(parts.corrector))
    batch = BATCH.get(parts.device_type, BATCH["cpu"])
    ranking = LastRound(parts.embedder)
    return RoundSearch([proposers], ranking, stop, EXHAUSTIVE_ROUNDS, batch, parts.batches)


class RewriteAll(Proposer):
    """Rewrites the whole pool in every round."""

    name = "corrector"

    def __init__(self, writer: HypothesisWriter):
        self.writer = writer

    def propose(self, states: Sequence[SearchState]) -> list[list[str]]:
        return rewrite(self.writer, states, [state.pool for state in states])

    def exhausted(self, state: SearchState) -> bool:
        return False


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
    """A search is over when its best text is exact or its rounds are used."""
    if abs(state.pool[0].cosine - 1) < state.target.tolerance:
        return "exact"
    return "converged" if exhausted else state.used_up()
