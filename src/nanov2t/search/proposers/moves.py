"""Moves: the same words in another order, the way language goes on."""

from __future__ import annotations

import numpy as np
import torch

from nanov2t.models.editor import Editor
from nanov2t.models.guesser import Guesser
from nanov2t.search.population import PopulationProposer, dice, parents, unseen
from nanov2t.search.state import Member, SearchState

LONGEST = 48
"""Tokens of the longest text that is rearranged: it has 18,000 moves."""
CHANCE = 2.0
"""Nats by which chance may favour a move."""
MARGIN = 3
"""Times as many moves as are wanted are looked at, since some are known."""


class Moves(PopulationProposer):
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

    def suggest(self, state: SearchState) -> list[str]:
        random = dice(state, self.name)
        texts: list[str] = []
        for member in parents(state, self.count):
            n = len(member.ids)
            if not 1 < n <= LONGEST:
                continue
            every = moves(n)
            gains = self._gains(state, member, *np.array(every).T)
            gains += CHANCE * random.gumbel(size=len(every))
            order = np.argsort(-gains, kind="stable")[: MARGIN * self.moves]
            made = self.editor.decode([moved(member.ids, *every[place]) for place in order])
            texts += unseen(state, [text for text in made if text not in texts], self.moves)
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


def moves(length: int) -> list[tuple[int, int, int]]:
    """Every move of a span: the words from i to j and those from j to k change places."""
    return [
        (i, j, k)
        for i in range(length)
        for j in range(i + 1, length)
        for k in range(j + 1, length + 1)
    ]


def moved(ids: tuple[int, ...], i: int, j: int, k: int) -> tuple[int, ...]:
    return (*ids[:i], *ids[j:k], *ids[i:j], *ids[k:])
