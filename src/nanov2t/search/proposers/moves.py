"""Moves: the same words in another order, the way language goes on."""

from __future__ import annotations

from functools import lru_cache
from operator import itemgetter

import numpy as np
import torch

from nanov2t.models.editor import ScoredDraft, exchanged
from nanov2t.models.reading import Hypothesizer
from nanov2t.search.population import (
    FOREMOST,
    PopulationProposer,
    dice,
    foremost,
    fresh,
    parents,
    stalled,
)
from nanov2t.search.proposers.scored import Scored
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
ORDER = 1.5
"""Nats that a nat of the edit network's is worth beside those of the language model."""
LISTED = 512
"""Likeliest moves of a parent at each depth, of which the first new ones are tried."""
DEPTH, BEGUN = 3, 8
"""Exchanges that are made together at most, and orders to which one more is made."""
SWEPT = 32
"""Times as many moves of the foremost texts that are tried after a round without gain: what then is
wrong is often the order alone, in which a small language model may like the text 8 nats less than
its rivals, and a move costs nothing but its embedding."""


class Moves(PopulationProposer):
    """Two spans of a text that change places, by what then stands side by side: how likely a
    language model finds it, looked up among the continuations of the text's own beginnings, so
    that all moves cost one reading; and how likely an edit network, which sees what the embedder
    made of the words where they stand. Without either, moves are drawn at random.

    Args:
        hypothesizer: reads.
        scored: the texts' order by an edit network.
        count: parents of a round.
        moves: of a parent; of those that are looked at closely many more.
    """

    name = "moves"

    def __init__(self, hypothesizer: Hypothesizer | None, scored: Scored, count: int, moves: int):
        self.hypothesizer, self.scored, self.editor = hypothesizer, scored, scored.editor
        self.count, self.moves = count, moves

    def suggest(self, state: SearchState) -> list[str]:
        random = dice(state, self.name)
        texts: dict[str, None] = {}
        often = SWEPT if stalled(state) else FOREMOST
        members = parents(state, self.count)
        drafts = self.scored.of(state, members)
        for member in members:
            ids = member.ids
            if not 1 < len(ids) <= LONGEST:
                continue
            after = self._after(state, member, drafts.get(member.text))
            orders = rearranged(after, random.choice(SHORT), random)
            rows = [itemgetter(*order)(ids) for order in orders]
            count = self.moves * (often if foremost(state, member) else 1)
            texts |= dict.fromkeys(fresh(state, self.editor, rows, count))
        return list(texts)

    def _after(self, state: SearchState, member: Member, draft: ScoredDraft | None) -> np.ndarray:
        """Log probabilities of each token, or of the end, after each token, or the beginning,
        float64 [tokens + 1, tokens + 1]."""
        after = np.zeros((len(member.ids) + 1, len(member.ids) + 1))
        if self.hypothesizer is not None and member.fluency is not None:
            reading = self.hypothesizer.read(state.target.vector, state.target.evidence)
            words = torch.tensor([*member.ids, self.hypothesizer.model.config.trunk.sep])
            words = words.to(reading.words.device)
            [odds] = reading.continuations([(member.ids, member.fluency)], words)
            after += odds.double().cpu().numpy()
        if draft is not None and draft.order is not None:
            after += ORDER * draft.order[:-1, 1:]
        return after


def rearranged(
    after: np.ndarray, shyness: float, random: np.random.Generator
) -> list[tuple[int, ...]]:
    """Orders of a text's tokens, by what is gained and by chance, best first: by one exchange or,
    since it may take several before anything is gained, by up to DEPTH of them, of which the best
    go on."""
    n = len(after) - 1
    every = exchanges(n)
    cost = shyness * np.sqrt(disorder(*every.T))
    found: dict[tuple[int, ...], float] = {}
    begun = {tuple(range(n)): 0.0}
    for _ in range(DEPTH):
        reached: dict[tuple[int, ...], float] = {}
        for order, gained in begun.items():
            words, beginnings = [*order, n], [0, *(i + 1 for i in order)]
            gains = gained + exchange_gains(after[beginnings][:, words], every) - cost
            gains += CHANCE * random.gumbel(size=len(every))
            listed = min(LISTED // len(begun), len(gains))
            for i in np.argpartition(-gains, listed - 1)[:listed].tolist():
                new = exchanged(order, *every[i])
                reached[new] = max(float(gains[i]), reached.get(new, -np.inf))
        best = sorted(reached, key=lambda order: -reached[order])
        begun = {order: reached[order] for order in best[:BEGUN]}
        found = reached | found
    return sorted(found, key=lambda order: -found[order])


def exchange_gains(after: np.ndarray, moves: np.ndarray) -> np.ndarray:
    """By how much what stands side by side becomes likelier, about, float64 [moves]: `after` is of
    each word after each beginning, [n + 1, n + 1], moves are long [moves, 4]."""
    i, j, k, m = moves.T
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
