"""Moves: the same words in another order, the way language goes on."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from nanov2t.models.editor import Editor
from nanov2t.models.guesser import Guesser
from nanov2t.search.population import FITTEST, PopulationProposer, dice, fresh, parents, stalled
from nanov2t.search.state import Member, SearchState

LONGEST = 48
"""Tokens of the longest text that is rearranged: it has 98,000 moves."""
SPAN = 12
"""Tokens of a span at most."""
CHANCE = 2.0
"""Nats by which chance may favour a move."""
SHORT = (0.0, 0.7, 1.4)
"""Nats that a move loses, by chance, for the root of the number of pairs of words whose order it
changes: a text that is nearly right has its words nearly where they belong."""
LISTED = 1024
"""Likeliest moves of a parent, of which the first new ones are tried."""
SWEPT = 32
"""Times as many moves of the fittest text that are tried after a round without gain: what then is
wrong is often the order alone, in which a small language model may like the text 8 nats less than
its rivals, and a move costs nothing but its embedding."""


class Moves(PopulationProposer):
    """Two spans of a text that change places, by how likely a language model finds what then
    stands side by side: the places where that breaks a text are looked up among the
    continuations of the text's own beginnings, so that all moves cost one reading. Without a model,
    moves are drawn at random.

    Args:
        guesser: reads.
        editor: writes token ids.
        count: parents of a round.
        moves: of a parent; of the fittest one many more.
    """

    name = "moves"

    def __init__(self, guesser: Guesser | None, editor: Editor, count: int, moves: int):
        self.guesser, self.editor = guesser, editor
        self.count, self.moves = count, moves

    def suggest(self, state: SearchState) -> list[str]:
        random = dice(state, self.name)
        texts: dict[str, None] = {}
        often = SWEPT if stalled(state) else FITTEST
        for place, member in enumerate(parents(state, self.count)):
            n = len(member.ids)
            if not 1 < n <= LONGEST:
                continue
            every = exchanges(n)
            gains = self._gains(state, member, *every.T)
            gains += CHANCE * random.gumbel(size=len(every))
            gains -= random.choice(SHORT) * np.sqrt(disorder(*every.T))
            order = np.argsort(-gains, kind="stable")[:LISTED]
            rows = [exchanged(member.ids, *every[i]) for i in order]
            count = self.moves * (1 if place else often)
            texts |= dict.fromkeys(fresh(state, self.editor, rows, count))
        return list(texts)

    def _gains(
        self,
        state: SearchState,
        member: Member,
        i: np.ndarray,
        j: np.ndarray,
        k: np.ndarray,
        m: np.ndarray,
    ) -> np.ndarray:
        """Nats by which a text becomes likelier, about, float64 [exchanges]."""
        if self.guesser is None or member.fluency is None:
            return np.zeros(len(i))
        reading = self.guesser.read(state.target.vector)
        words = torch.tensor([*member.ids, self.guesser.model.config.trunk.sep])
        words = words.to(reading.words.device)
        [odds] = reading.continuations([(member.ids, member.fluency)], words)
        after = odds.double().cpu().numpy()  # [beginning, word that follows]
        own, apart = np.diagonal(after), j < k
        # What then follows the beginnings that end at i, at m and at j; and at k, if apart.
        made = after[i, k] + after[m, np.where(apart, j, i)] + after[j, m]
        gains: np.ndarray = made - own[i] - own[k] - own[m]
        gains += np.where(apart, after[k, i] - own[j], 0.0)
        return gains


@lru_cache(maxsize=64)
def exchanges(length: int) -> np.ndarray:
    """Every exchange of two spans of at most SPAN tokens, long [exchanges, 4]: the words from i to
    j and those from k to m change places."""
    found = [
        (i, j, k, m)
        for i in range(length)
        for j in range(i + 1, min(length, i + SPAN + 1))
        for k in range(j, length)
        for m in range(k + 1, min(length, k + SPAN) + 1)
    ]
    return np.array(found)


def disorder(i: np.ndarray, j: np.ndarray, k: np.ndarray, m: np.ndarray) -> np.ndarray:
    """Pairs of words that stand in another order after an exchange, long [exchanges]."""
    first, between, second = j - i, k - j, m - k
    pairs: np.ndarray = first * second + between * (first + second)
    return pairs


def exchanged(ids: tuple[int, ...], i: int, j: int, k: int, m: int) -> tuple[int, ...]:
    return (*ids[:i], *ids[k:m], *ids[j:k], *ids[i:j], *ids[m:])
