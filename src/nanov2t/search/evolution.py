"""Evolution: a population of texts whose members are edited, recombined and judged.

Where a sequence beam (Morris et al. 2023, section 3.2) keeps a few texts and rewrites them, a
population keeps many, edits them by what the embedder's own states say is missing
(:mod:`nanov2t.models.edit_network`), and splices them by what their states say of the sum
(:mod:`nanov2t.search.proposers.splices`). An embedding costs a thousandth of a beam search, and
exact texts are found by many small steps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from nanov2t.search.aligned import AlignedPopulation
from nanov2t.search.base import Engine, Proposer
from nanov2t.search.loop import RoundSearch
from nanov2t.search.options import Budget, Effort
from nanov2t.search.population import Population, stalled
from nanov2t.search.proposers.children import Children
from nanov2t.search.proposers.first import FirstGuesses
from nanov2t.search.proposers.moves import Moves
from nanov2t.search.proposers.neighbours import Neighbours
from nanov2t.search.proposers.phrases import Phrases
from nanov2t.search.proposers.scored import Scored
from nanov2t.search.proposers.splices import Splices
from nanov2t.search.proposers.variants import Variants
from nanov2t.search.proposers.words import Words
from nanov2t.search.state import SearchState, Stopped

BATCH = 8
"""Vectors whose rounds take turns."""
PATIENCE = 4
"""Rounds without gain after which a new population starts, or joins the one before it; without a
model to start it from, the search has then converged."""


@dataclass(frozen=True)
class Spending:
    """How much is spent on a vector."""

    embeddings: int
    """Texts embedded at most, unless a budget says otherwise."""
    guesses: int
    """First guesses, by beam search."""
    rounds: int
    """Generations at most."""
    parents: int
    """Members whose children are made in a round."""
    edits: int
    """Likeliest single edits of a parent that are tried."""
    combinations: int
    """Sets of edits of a parent that are drawn and made together."""
    moves: int
    """Moves of a span of a parent."""
    splices: int
    """Splices of the population, chosen by the states of their engine."""
    words: int
    """Texts with a word of the dictionary put into them, chosen by its average state."""
    phrases: int
    """Texts with a phrase of the language model in them, chosen as words are."""


DEFAULT = Spending(
    embeddings=5_000,
    guesses=32,
    rounds=60,
    parents=8,
    edits=4,
    combinations=3,
    moves=3,
    splices=64,
    words=24,
    phrases=40,
)
FAST = Spending(
    embeddings=300,
    guesses=16,
    rounds=4,
    parents=4,
    edits=4,
    combinations=4,
    moves=1,
    splices=32,
    words=16,
    phrases=16,
)
EFFORTS: dict[Effort, Spending] = {
    "fast": FAST,
    "default": DEFAULT,
    "thorough": replace(DEFAULT, embeddings=50_000, rounds=240),
}
ALIGNED: dict[Effort, Spending] = {
    "fast": FAST,
    "default": replace(DEFAULT, embeddings=3_000),
    "thorough": replace(DEFAULT, embeddings=20_000, rounds=240),
}
"""For vectors of another embedder than the reader, to which every text may cost money."""


def evolution_search(engine: Engine) -> RoundSearch:
    """First guesses, then generations of children."""
    effort = (ALIGNED if engine.aligned else EFFORTS)[engine.effort]
    scored = Scored(engine.editor)
    proposers: list[Proposer] = [
        FirstGuesses(engine.hypothesizer, engine.editor, effort.guesses, PATIENCE),
        Children(scored, effort.parents, effort.edits, effort.combinations),
        Splices(engine.hypothesizer, engine.editor, 2 * effort.parents, effort.splices),
        Words(engine.hypothesizer, engine.editor, max(1, effort.parents // 2), effort.words),
        Moves(engine.hypothesizer, scored, effort.parents, effort.moves),
    ]
    if engine.aligned:
        proposers += [Variants(), Neighbours(engine.editor, engine.reader)]
    if engine.hypothesizer is not None:
        proposers.append(
            Phrases(engine.hypothesizer, engine.editor, max(1, effort.parents // 4), effort.phrases)
        )

    def stop(state: SearchState, exhausted: bool) -> Stopped | None:
        """A search is over when its best text is exact, or its rounds or its budget are used."""
        if state.pool[0].cosine >= 1 - state.target.tolerance:
            return "exact"
        if used := state.used_up():
            return used
        over = engine.hypothesizer is None and stalled(state) >= PATIENCE
        return "converged" if exhausted or over else None

    return RoundSearch(
        [proposers],
        (AlignedPopulation if engine.aligned else Population)(engine.reader, engine.hypothesizer),
        stop,
        effort.rounds,
        BATCH,
        together=False,
        default_budget=Budget(embeddings=effort.embeddings),
    )
