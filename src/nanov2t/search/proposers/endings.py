"""Endings: a member's beginning kept, the rest written anew by the prefix language model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nanov2t.models.editor import Editor
from nanov2t.models.guesser import Guesser
from nanov2t.models.prefix_lm import CHOICES
from nanov2t.search.base import Proposer
from nanov2t.search.population import dice, parents
from nanov2t.search.state import SearchState

BONUSES = (0.0, 2.0, 4.0)
"""Nats by which the words that are cut off may be favoured."""


class Endings(Proposer):
    """Edits change words and moves change places; this changes both at once, the way language
    goes on.

    Args:
        guesser: writes.
        editor: reads and writes token ids.
        count: parents of a round.
        endings: drawn for a parent, each after a beginning of a random length.
    """

    name = "endings"

    def __init__(self, guesser: Guesser, editor: Editor, count: int, endings: int):
        self.guesser, self.editor = guesser, editor
        self.count, self.endings = count, endings

    def propose(self, states: Sequence[SearchState]) -> list[list[str]]:
        chosen = [parents(state, self.count) for state in states]
        ids = iter(self.editor.encode([text for texts in chosen for text in texts]))
        targets, begun, kept, bonus, noise = [], [], [], [], []
        counts = []
        for state, texts in zip(states, chosen, strict=True):
            random = dice(state, self.name)
            for row in (next(ids) for _ in texts):
                for _ in range(self.endings):
                    targets.append(state.target.vector.astype(np.float32))
                    begun.append(row)
                    kept.append(int(random.integers(0, max(1, len(row)))))
                    bonus.append(float(random.choice(BONUSES)))
                    drawn = random.gumbel(size=(self.guesser.limit, CHOICES))
                    noise.append(drawn.astype(np.float32))
            counts.append(len(texts) * self.endings)
        written = iter(self.editor.decode(self.guesser.rewrite(targets, begun, kept, bonus, noise)))
        return [[next(written) for _ in range(count)] for count in counts]

    def exhausted(self, state: SearchState) -> bool:
        return False
