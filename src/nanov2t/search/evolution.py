"""Evolution: a population of texts whose members are edited, recombined and judged.

Where a sequence beam (Morris et al. 2023, section 3.2) keeps a few texts and rewrites them, a
population keeps many, edits them by what the embedder's own states say is missing
(:mod:`nanov2t.models.edit_network`), and splices them by what their states say of the sum
(:mod:`nanov2t.search.proposers.splices`). An embedding costs a thousandth of a beam search, and
exact texts are found by many small steps.
"""

from __future__ import annotations

from dataclasses import dataclass

from nanov2t.core.errors import UserError
from nanov2t.search.base import Parts, Proposer
from nanov2t.search.loop import RoundSearch
from nanov2t.search.options import Effort
from nanov2t.search.population import Population, stalled
from nanov2t.search.proposers.children import Children
from nanov2t.search.proposers.first import FirstGuesses
from nanov2t.search.proposers.moves import Moves
from nanov2t.search.proposers.neighbours import Neighbours
from nanov2t.search.proposers.rewritings import Rewritings
from nanov2t.search.proposers.splices import Splices
from nanov2t.search.proposers.words import Words
from nanov2t.search.state import SearchState, Stopped

BATCH = 8
"""Vectors whose rounds take turns."""


@dataclass(frozen=True)
class Spending:
    """How much is spent on a vector."""

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
    """Splices of the population, chosen by the states of their parts."""
    words: int
    """Texts with a word of the dictionary put into them, chosen by its average state."""
    rewritings: int
    """Texts of a parent's words that are written anew."""
    patience: int
    """Rounds without gain after which a new population starts; without a model to start it from,
    the search has then converged."""
    neighbours: int
    """Most frequent words of which every place is tried, where a search has stalled."""


EFFORTS: dict[Effort, Spending] = {
    "fast": Spending(
        guesses=16,
        rounds=4,
        parents=4,
        edits=4,
        combinations=4,
        moves=4,
        splices=32,
        words=16,
        rewritings=1,
        patience=4,
        neighbours=0,
    ),
    "default": Spending(
        guesses=32,
        rounds=60,
        parents=8,
        edits=6,
        combinations=6,
        moves=4,
        splices=64,
        words=32,
        rewritings=1,
        patience=6,
        neighbours=20,
    ),
    "thorough": Spending(
        guesses=64,
        rounds=240,
        parents=12,
        edits=8,
        combinations=8,
        moves=6,
        splices=96,
        words=48,
        rewritings=2,
        patience=8,
        neighbours=100,
    ),
}


def evolution_search(parts: Parts) -> RoundSearch:
    """First guesses, then generations of children."""
    if parts.editor is None:
        raise UserError("search evolution: needs an inverter that looks inside its embedder")
    effort = EFFORTS[parts.effort]
    proposers: list[Proposer] = [
        FirstGuesses(parts.guesser, parts.editor, effort.guesses, effort.patience),
        Children(parts.editor, effort.parents, effort.edits, effort.combinations),
        Splices(parts.guesser, parts.editor, 2 * effort.parents, effort.splices),
        Words(parts.guesser, parts.editor, max(1, effort.parents // 2), effort.words),
        Moves(parts.guesser, parts.editor, effort.parents, effort.moves),
        Neighbours(parts.editor, effort.neighbours),
    ]
    if parts.guesser is not None:
        proposers.append(Rewritings(parts.guesser, parts.editor, effort.parents, effort.rewritings))

    def stop(state: SearchState, exhausted: bool) -> Stopped | None:
        """A search is over when its best text is exact or its rounds or its budget are used."""
        assert state.options.rounds is not None
        if state.pool[0].cosine >= 1 - state.target.tolerance:
            return "exact"
        if len(state.history) > state.options.rounds or state.spent():
            return "rounds"
        over = parts.guesser is None and stalled(state) >= effort.patience
        return "converged" if exhausted or over else None

    return RoundSearch(
        [proposers],
        Population(parts.embedder, parts.guesser),
        stop,
        effort.rounds,
        BATCH,
        together=False,
    )
