"""The default search: sequence-level beam search (Morris et al. 2023, section 3.2) with edits.

A pool of the best hypotheses of each vector is monotone, so an answer never gets worse. No
hypothesis is rewritten or edited twice, and no text embedded twice.
"""

from __future__ import annotations

from collections.abc import Sequence

from nanov2t.models.writer import Writer
from nanov2t.search.base import Parts, Proposer
from nanov2t.search.loop import RoundSearch
from nanov2t.search.options import ROUNDS
from nanov2t.search.proposers.corrector import Corrector
from nanov2t.search.proposers.edits import Combinations, Edits
from nanov2t.search.proposers.hypothesizer import Hypothesizer
from nanov2t.search.ranking import BestSoFar
from nanov2t.search.state import SearchState, Stopped

FIRST = 4
"""First guesses for each place in the pool: wide early, narrow late."""
BATCH = {"cpu": 32, "cuda": 512}
"""Vectors searched at a time: enough to keep a device busy."""


def beam_search(parts: Parts) -> RoundSearch:
    """First guesses, then rounds of corrections and, by a generator's probabilities, edits of the
    best hypotheses so far."""
    first = Hypothesizer(parts.hypothesizer, guesses=FIRST)
    steps: list[Sequence[Proposer]] = [[first]]
    if parts.corrector is not None:
        steps = [[first, Corrector(parts.corrector)]]
    if isinstance(parts.corrector, Writer):
        edits = Edits(parts.corrector)
        steps = [[*steps[0], edits], [Combinations(edits)]]
    batch = BATCH.get(parts.device_type, BATCH["cpu"])
    return RoundSearch(
        steps, BestSoFar(parts.embedder), stop, ROUNDS[parts.effort], batch, parts.batches
    )


def stop(state: SearchState, exhausted: bool) -> Stopped | None:
    """A search is over when its best text is exact, its rounds are used, or nothing is left to
    try."""
    if state.pool[0].cosine >= 1 - state.target.tolerance:
        return "exact"
    return state.used_up() or ("converged" if exhausted else None)
