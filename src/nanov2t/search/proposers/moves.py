"""Moves: the same words in another order, the way language goes on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from nanov2t.models.editor import Editor
from nanov2t.models.guesser import Guesser
from nanov2t.search.base import Proposer
from nanov2t.search.population import Member, dice, parents
from nanov2t.search.state import SearchState

LONGEST = 48
"""Tokens of the longest text that is rearranged: it has 18,000 moves."""
CHANCE = 2.0
"""Nats by which chance may favour a move."""


class Moves(Proposer):
    """A span of a text moved to another place, by how likely a language model finds what then
    stands side by side: the three places where a moved span breaks a text are looked up among the
    continuations of the text's own beginnings, so that all moves cost one reading. Without a model,
    moves are drawn at random.

    Args:
        guesser: reads.
        editor: writes token ids.
        count: parents of a round.
        moves: of a parent.
    """

    name = "moves"

    def __init__(self, guesser: Guesser | None, editor: Editor, count: int, moves: int):
        self.guesser, self.editor = guesser, editor
        self.count, self.moves = count, moves

    def propose(self, states: Sequence[SearchState]) -> list[list[str]]:
        return [self._propose(state) for state in states]

    def exhausted(self, state: SearchState) -> bool:
        return False

    def _propose(self, state: SearchState) -> list[str]:
        random, texts = dice(state, self.name), []
        for member in parents(state, self.count):
            n = len(member.ids)
            if not 1 < n <= LONGEST:
                continue
            # Two neighbouring spans, from i to j and from j to k, change places.
            i, j, k = np.array(
                [(i, j, k) for i in range(n) for j in range(i + 1, n) for k in range(j + 1, n + 1)]
            ).T
            gains = self._gains(state, member, i, j, k) + CHANCE * random.gumbel(size=len(i))
            rows = [
                (*member.ids[:a], *member.ids[b:c], *member.ids[a:b], *member.ids[c:])
                for a, b, c in zip(i, j, k, strict=True)
            ]
            order = np.argsort(-gains, kind="stable")[: 3 * self.moves]
            made = self.editor.decode([rows[place] for place in order])
            fresh = [t for t in dict.fromkeys(made) if t not in state.cosines and t not in texts]
            texts += fresh[: self.moves]
        return texts

    def _gains(
        self, state: SearchState, member: Member, i: np.ndarray, j: np.ndarray, k: np.ndarray
    ) -> np.ndarray:
        """Nats by which a text becomes likelier, about, float64 [moves]."""
        if self.guesser is None or member.fluency is None:
            return np.zeros(len(i))
        reading = self.guesser.read(state.target.vector)
        words = torch.tensor([*member.ids, self.guesser.model.config.trunk.sep])
        words = words.to(reading.words.device)
        [odds] = reading.continuations([(member.ids, member.fluency)], words)
        after = odds.double().cpu().numpy()  # [beginning, word that follows]
        gains: np.ndarray = (
            after[i, j] + after[k, i] + after[j, k] - after[i, i] - after[j, j] - after[k, k]
        )
        return gains
