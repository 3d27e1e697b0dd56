"""Children of a population's members: their likeliest edits, one or several at a time."""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakKeyDictionary

import numpy as np

from nanov2t.models.editor import Edit, Editor, ScoredDraft, apply, conflict
from nanov2t.search.base import Proposer
from nanov2t.search.population import dice, parents
from nanov2t.search.state import SearchState

KNOWN = 128
"""Edits that are kept of a parent."""
MOST = 8
"""Edits that are made together."""


class Children(Proposer):
    """Edits of parents by their odds.

    Every other round the likeliest single edits are tried, in the rounds between some drawn by
    their odds; and sets of edits, drawn likewise, since a text that is wrong in several places
    seldom gains by mending one of them.

    Args:
        editor: scores the edits of a text.
        count: parents of a round.
        edits: single edits of a parent that are tried.
        combinations: sets of edits of a parent that are tried.
    """

    name = "children"

    def __init__(self, editor: Editor, count: int, edits: int, combinations: int):
        self.editor, self.count = editor, count
        self.edits, self.combinations = edits, combinations
        self._scored: WeakKeyDictionary[SearchState, dict[str, ScoredDraft]] = WeakKeyDictionary()

    def propose(self, states: Sequence[SearchState]) -> list[list[str]]:
        chosen = [parents(state, self.count) for state in states]
        self._score(states, chosen)
        rows: list[list[int]] = []
        counts = []
        for state, texts in zip(states, chosen, strict=True):
            random = dice(state, self.name)
            greedy = len(state.history) % 2 == 1
            before = len(rows)
            for text in texts:
                rows += self._children(self._scored[state][text], random, greedy)
            counts.append(len(rows) - before)
        children = iter(self.editor.decode(rows))
        return [[next(children) for _ in range(count)] for count in counts]

    def exhausted(self, state: SearchState) -> bool:
        return False

    def _score(self, states: Sequence[SearchState], chosen: Sequence[Sequence[str]]) -> None:
        """Score the edits of parents that were none before; forget those that have left."""
        work = []
        for state, texts in zip(states, chosen, strict=True):
            known = self._scored.get(state, {})
            members = {h.text for h in state.population}
            self._scored[state] = {text: known[text] for text in known if text in members}
            work += [(state, text) for text in texts if text not in known]
        targets = [state.target.vector for state, _ in work]
        scored = self.editor.score(targets, [text for _, text in work], KNOWN)
        for (state, text), draft in zip(work, scored, strict=True):
            self._scored[state][text] = draft

    def _children(
        self, draft: ScoredDraft, random: np.random.Generator, greedy: bool
    ) -> list[list[int]]:
        if not draft.edits:
            return []
        noise = random.gumbel(size=len(draft.odds))
        order = np.argsort(-draft.odds if greedy else -(draft.odds + noise), kind="stable")
        sets = [[draft.edits[i]] for i in order[: self.edits]]
        expected = float((1 / (1 + np.exp(-draft.odds.clip(-30, 30)))).sum())
        for _ in range(self.combinations):
            sets.append(self._draw(draft, random, expected))
        return [row for row in (apply(draft.ids, edits) for edits in sets) if row]

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
