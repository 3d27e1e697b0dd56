"""Evolution: a population of texts whose members are edited, recombined and judged.

A sequence beam (Morris et al. 2023, section 3.2) keeps a few texts and rewrites them. A population
keeps many, edits them by what the embedder's own states say is missing, and splices them by what
their states say of the sum. An embedding costs a thousandth of a beam search, and exact texts are
found by many small steps. :class:`~nanov2t.search.loop.RoundSearch` runs the rounds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from nanov2t.core.errors import UserError
from nanov2t.embedders.base import Embedder
from nanov2t.models.editor import Editor
from nanov2t.models.reading import CHOICES, Hypothesizer
from nanov2t.search.aligned import AlignedPopulation, Neighbours, Variants
from nanov2t.search.edits import Children, Moves, Scored
from nanov2t.search.loop import Proposer, RoundSearch, Search
from nanov2t.search.options import Budget, Effort
from nanov2t.search.population import Population, dice, fittest_first, stalled, unseen
from nanov2t.search.state import SearchState, Stopped
from nanov2t.search.sums import Phrases, Splices, Words

BATCH = 8
"""Vectors whose rounds take turns."""
PATIENCE = 4
"""Rounds without gain after which a population has stalled."""
JOINED, ELITE = 32, 8
"""Members of each of two populations that are joined, and leaders kept of those that stalled."""
ROOM, DRAWN, LONGER = 1.3, 2, 3
"""For another embedder's vector: times that its first guesses may be as long as its text seems to
be, and times as many that are drawn as are written by beam search; and tokens on top of a length.
"""


@dataclass(frozen=True)
class Engine:
    """What searches of an embedder's states work with: the reader judges the texts unless they are
    `aligned`, that is judged by another embedder; without a hypothesizer they start from drafts."""

    reader: Embedder
    editor: Editor
    hypothesizer: Hypothesizer | None
    effort: Effort = "default"
    aligned: bool = False

    def hypothesize(self, targets: Sequence[np.ndarray]) -> list[str]:
        """The greedy first guess of each target, float32 [dim]; none without a hypothesizer."""
        if self.hypothesizer is None:
            return []
        return [self.hypothesizer.hypothesize(target, 1)[0] for target in targets]


@dataclass(frozen=True)
class Spending:
    """How much is spent on a vector, unless a budget says otherwise: the first three in all, then
    in a round, of which edits, combinations of edits and moves of each parent."""

    embeddings: int = 5_000
    guesses: int = 32
    rounds: int = 60
    parents: int = 8
    edits: int = 4
    combinations: int = 3
    moves: int = 3
    splices: int = 64
    words: int = 24
    phrases: int = 40


FAST = Spending(300, 16, 4, 4, edits=4, combinations=4, moves=1, splices=32, words=16, phrases=16)
EFFORTS: dict[Effort, Spending] = {
    "fast": FAST,
    "default": Spending(),
    "thorough": Spending(embeddings=50_000, rounds=240),
}
ALIGNED = EFFORTS | {
    "default": Spending(embeddings=3_000),
    "thorough": Spending(embeddings=20_000, rounds=240),
}
"""For vectors of another embedder than the reader, to which every text may cost money."""


def evolution_search(engine: Engine) -> RoundSearch:
    """First guesses, then generations of children."""
    reader, editor, hypothesizer = engine.reader, engine.editor, engine.hypothesizer
    effort = (ALIGNED if engine.aligned else EFFORTS)[engine.effort]
    scored, count = Scored(editor), effort.parents
    proposers: list[Proposer] = [
        FirstGuesses(hypothesizer, editor, effort.guesses),
        Children(scored, count, effort.edits, effort.combinations),
        Splices(hypothesizer, editor, 2 * count, effort.splices),
        Words(hypothesizer, editor, max(1, count // 2), effort.words),
        Moves(hypothesizer, scored, count, effort.moves),
    ]
    if engine.aligned:
        proposers += [Variants(), Neighbours(editor, reader)]
    if hypothesizer is not None:
        proposers.append(Phrases(hypothesizer, editor, max(1, count // 4), effort.phrases))

    def stop(state: SearchState, exhausted: bool) -> Stopped | None:
        if state.pool[0].cosine >= 1 - state.target.tolerance:
            return "exact"
        if used := state.used_up():
            return used
        over = hypothesizer is None and stalled(state) >= PATIENCE
        return "converged" if exhausted or over else None

    return RoundSearch(
        proposers,
        (AlignedPopulation if engine.aligned else Population)(reader, hypothesizer),
        stop,
        effort.rounds,
        BATCH,
        together=False,
        default_budget=Budget(embeddings=effort.embeddings),
    )


SEARCHES: dict[str, Callable[[Engine], Search]] = {"evolution": evolution_search}


def make_search(name: str, engine: Engine) -> Search:
    """The search of that name; `default` is evolution. A UserError says that there is none."""
    if name not in ("default", *SEARCHES):
        raise UserError(f"search {name}: not one of default, {', '.join(SEARCHES)}")
    return SEARCHES["evolution" if name == "default" else name](engine)


class FirstGuesses(Proposer):
    """Opens each search with the draft that it was given, else with guesses of a model; without a
    model, with the most frequent words. Restarts it when its population has stalled."""

    name = "hypothesizer"

    def __init__(self, hypothesizer: Hypothesizer | None, editor: Editor, count: int):
        self.hypothesizer, self.editor, self.count = hypothesizer, editor, count

    def exhausted(self, state: SearchState) -> bool:
        return bool(state.pool) and self.hypothesizer is None

    def suggest(self, state: SearchState) -> list[str]:
        target, hypothesizer, count = state.target, self.hypothesizer, self.count
        if state.pool:
            if hypothesizer is None or stalled(state) < PATIENCE:
                return []
            return restart(state, lambda longest: self._draw(hypothesizer, state, longest, count))
        if target.draft is not None:
            return [target.draft]
        if hypothesizer is None:
            return self.editor.decode([[word] for word in self.editor.frequent_words[:count]])
        if target.tokens is None:
            return hypothesizer.hypothesize(target.vector, count)
        # The target's place is roughly known, so guesses must be many and unlike each other.
        longest = round(ROOM * target.tokens) + LONGER
        likeliest = hypothesizer.hypothesize(target.vector, count, longest, target.evidence)
        return [*likeliest, *self._draw(hypothesizer, state, longest, DRAWN * count)]

    def _draw(
        self, hypothesizer: Hypothesizer, state: SearchState, longest: int, count: int
    ) -> list[str]:
        """Guesses of at most `longest` tokens, drawn at random."""
        noise = dice(state, self.name).gumbel(
            size=(count, min(longest, hypothesizer.limit), CHOICES)
        )
        reading = hypothesizer.read(state.target.vector, state.target.evidence)
        return self.editor.decode(reading.draw(torch.from_numpy(noise.astype(np.float32))))


def restart(state: SearchState, draw: Callable[[int], list[str]]) -> list[str]:
    """Set a population that has stalled aside, and return the new texts that the next one starts
    from, of those that `draw` makes of at most so many tokens. If there is one aside already, join
    the two instead: what each has found is often what the other lacks."""
    state.progress = []
    leader = state.population[0]
    if leader.text not in {member.text for member in state.elite}:
        state.elite = [*state.elite, leader][-ELITE:]
    if state.former:
        both = [*state.population[:JOINED], *state.former]
        state.population, state.former = sorted(both, key=fittest_first), []
        return []
    texts = [text for text in draw(len(leader.ids) + LONGER) if text]
    new = unseen(state, texts, len(texts))
    if new:
        state.former, state.population = state.population[:JOINED], []
    return new
