"""Children of a population's members: their likeliest edits, one or several at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from nanov2t.models.editor import Edit, Kind, ScoredDraft, apply, conflict
from nanov2t.search.population import (
    FOREMOST,
    PopulationProposer,
    dice,
    foremost,
    offset_of,
    parents,
    target_on,
)
from nanov2t.search.proposers.scored import Scored
from nanov2t.search.state import Member, SearchState

MOST = 8
"""Edits that are made together."""
DRAWN = 6
"""Times as many sets are drawn as are made: those that bring the sum of states nearest."""
GOING = (Kind.REPLACE, Kind.DELETE)
"""Edits that take a word's state from the sum, and those that add one."""
COMING = (Kind.REPLACE, Kind.INSERT)


class Children(PopulationProposer):
    """Edits of parents by their odds: single ones from the likeliest on, further ones whenever the
    same parent comes again; and sets of edits, drawn by their odds, since a text that is wrong in
    several places seldom gains by mending one of them.

    Args:
        scored: the edits of texts by their odds.
        count: parents of a round.
        edits: single edits of a parent that are tried.
        combinations: sets of edits of a parent that are tried.
    """

    name = "children"

    def __init__(self, scored: Scored, count: int, edits: int, combinations: int):
        self.scored, self.editor, self.count = scored, scored.editor, count
        self.edits, self.combinations = edits, combinations
        self._tried: WeakKeyDictionary[SearchState, Counter[str]] = WeakKeyDictionary()

    def suggest(self, state: SearchState) -> list[str]:
        random = dice(state, self.name)
        members = parents(state, self.count)
        drafts = self.scored.of(state, members)
        rows: list[list[int]] = []
        for member in members:
            if member.text in drafts:
                count = self.edits * (FOREMOST if foremost(state, member) else 1)
                rows += self._children(state, member, drafts[member.text], count, random)
        return self.editor.decode(rows)

    def _children(
        self,
        state: SearchState,
        member: Member,
        draft: ScoredDraft,
        count: int,
        random: np.random.Generator,
    ) -> list[list[int]]:
        tried = self._tried.setdefault(state, Counter())
        first = tried[member.text]
        tried[member.text] += count
        sets = [[edit] for edit in draft.edits[first : first + count]]
        if draft.edits:
            expected = float((1 / (1 + np.exp(-draft.odds.clip(-30, 30)))).sum())
            drawn = [self._draw(draft, random, expected) for _ in range(DRAWN * self.combinations)]
            promise = self._promise(state, member, drawn)
            best = promise.argsort(descending=True, stable=True)[: self.combinations]
            sets += [drawn[i] for i in best.tolist()]
        return [row for row in (apply(draft.ids, edits) for edits in sets) if row]

    def _promise(
        self, state: SearchState, member: Member, sets: Sequence[Sequence[Edit]]
    ) -> Tensor:
        """About the cosines of a member with sets of edits made, float32 [sets]."""
        hidden, words = member.states.float(), self.editor.word_states
        offset = offset_of(member, words)
        gone = [(i, e.place + 1) for i, edits in enumerate(sets) for e in edits if e.kind in GOING]
        come = [(i, e.word) for i, edits in enumerate(sets) for e in edits if e.kind in COMING]
        sums = hidden.sum(0).repeat(len(sets), 1)
        if gone:
            i, places = torch.tensor(gone, device=hidden.device).T
            sums.index_add_(0, i, -hidden[places])
        if come:
            i, ids = torch.tensor(come, device=hidden.device).T
            sums.index_add_(0, i, words[ids] + offset)
        target = target_on(state, hidden.device)
        cosines: Tensor = sums @ target / sums.norm(dim=1)
        return cosines

    def _draw(self, draft: ScoredDraft, random: np.random.Generator, expected: float) -> list[Edit]:
        """Edits that do not conflict, drawn by their odds; as many as are likely to be right, or a
        few."""
        temperature = random.choice([0.7, 1.0, 1.5])
        count = 1 + min(int(random.geometric(0.5)), 6)
        if random.random() < 0.4:
            count = max(2, int(random.poisson(min(expected, MOST))))
        noisy = draft.odds / temperature + random.gumbel(size=len(draft.odds))
        made: list[Edit] = []
        for i in np.argsort(-noisy, kind="stable"):
            if not any(conflict(draft.edits[i], edit) for edit in made):
                made.append(draft.edits[i])
            if len(made) >= min(count, MOST):
                break
        return made
