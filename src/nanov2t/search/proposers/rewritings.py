"""Rewritings: the prefix language model writes a member anew in the words of its population."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch

from nanov2t.models.editor import Editor
from nanov2t.models.guesser import Guesser
from nanov2t.models.reading import CHOICES
from nanov2t.search.population import PopulationProposer, dice, parents
from nanov2t.search.state import Member, SearchState

BONUSES = (0.0, 2.0, 4.0, 6.0)
"""Nats by which words may be favoured."""
ASKED = 24
"""Members that say which words stand in the text."""
TEMPERATURES = (0.5, 1.0)
"""Of the drawing, from the model's own odds downwards."""
WHOLE = 1 / 3
"""Share of the texts that are written from their first word on."""


class Rewritings(PopulationProposer):
    """Edits change words and moves change places; this changes both at once, the way language
    goes on. The words are those of the member, or those on which the population agrees.

    Args:
        guesser: writes.
        editor: writes token ids.
        count: parents of a round.
        texts: drawn for a parent, each after a beginning of a random length.
    """

    name = "rewritings"

    def __init__(self, guesser: Guesser, editor: Editor, count: int, texts: int):
        self.guesser, self.editor = guesser, editor
        self.count, self.texts = count, texts

    def suggest(self, state: SearchState) -> list[str]:
        members = parents(state, self.count)
        if not members or not self.texts:
            return []
        random, agreed = dice(state, self.name), _agreed(state.population[:ASKED])
        begun, kept, bonus = [], [], []
        for member in members:
            for _ in range(self.texts):
                length = int(random.integers(0, max(1, len(member.ids))))
                kept.append(0 if random.random() < WHOLE else length)
                nats = float(random.choice(BONUSES))
                words = agreed if random.random() < 0.5 else dict.fromkeys(member.ids, 1.0)
                bonus.append({word: nats * share for word, share in words.items()})
                begun.append(member.ids)
        noise = random.gumbel(size=(len(begun), self.guesser.limit, CHOICES))
        noise *= random.choice(TEMPERATURES, size=(len(begun), 1, 1))
        reading = self.guesser.read(state.target.vector)
        drawn = torch.from_numpy(noise.astype(np.float32))
        return self.editor.decode(reading.rewrite(begun, kept, bonus, drawn))


def _agreed(members: Sequence[Member]) -> dict[int, float]:
    """The share of the members that a word stands in; the nearest to the target count most."""
    cosines = np.array([member.cosine for member in members])
    best = cosines.max()
    weights = np.exp((cosines - best) / max(0.005, (1 - best) / 2))
    shares: Counter[int] = Counter()
    for member, weight in zip(members, (weights / weights.sum()).tolist(), strict=True):
        for word in set(member.ids):
            shares[word] += weight
    return dict(shares)
