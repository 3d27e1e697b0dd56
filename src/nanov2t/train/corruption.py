"""Texts with errors like those of a search's drafts."""

from __future__ import annotations

import numpy as np
import torch

from nanov2t.models.dictionary import Dictionary
from nanov2t.models.edits import exchanged

WORDS = 12_000
"""Most frequent words whose neighbours are known."""
NEIGHBOURS = 16
"""Words nearest to a word, one of which takes its place."""
FEW = 0.52
"""Share of the drafts with one or two errors."""
ALL = 0.03
"""Share with no right word; in the others up to half of the words are wrong."""
SPAN = 4
"""Longest span of words that is moved."""
REORDERED = 0.5
"""Share of the texts whose words a draft has in another order."""
ONE_MOVE, TWO_MOVES = 0.35, 0.25
"""Shares of these with one or two pairs of spans exchanged; the others have up to a third as many
pairs as words."""
LONG = 6
"""Longest span of a pair; one of the two may be longer."""
KINDS = {"replace": 0.5, "delete": 0.18, "insert": 0.15, "swap": 0.08, "move": 0.09}
"""How frequent the errors are."""


class Corruption:
    """Errors by an embedder's dictionary: half of the wrong words have states like those of the
    right ones, half are drawn by frequency.

    Args:
        special: ids of tokens that are no words.
    """

    def __init__(self, dictionary: Dictionary, special: list[int]):
        words = dictionary.words[~torch.isin(dictionary.words, torch.tensor(special))]
        self.words = words.numpy()
        frequency = dictionary.log_frequency[words].double().exp()
        self.cumulative = (frequency.cumsum(0) / frequency.sum()).numpy()
        self.neighbours = _neighbours(dictionary, words[:WORDS])

    def draft(self, text: list[int], rng: np.random.Generator) -> list[int]:
        """A draft of a text, token ids without special tokens."""
        draft, kind = list(text), rng.random()
        if kind < ALL:
            return [self._random(rng) for _ in draft]
        most = 2 if kind < ALL + FEW else max(1, len(draft) // 2)
        for _ in range(int(rng.integers(1, most + 1))):
            draft = self.err(draft, str(rng.choice(list(KINDS), p=list(KINDS.values()))), rng)
        return draft

    def reordered(self, text: list[int], rng: np.random.Generator) -> list[int]:
        """A text, or its words in another order."""
        if len(text) < 2 or rng.random() >= REORDERED:
            return text
        kind, most = rng.random(), max(3, len(text) // 3)
        moves = 1 if kind < ONE_MOVE else 2 if kind < ONE_MOVE + TWO_MOVES else 0
        order = tuple(text)
        for _ in range(moves or int(rng.integers(3, most + 1))):
            i, j, k, m = sorted(rng.integers(0, len(text) + 1, 4))
            if min(j - i, m - k) <= LONG:
                order = exchanged(order, i, j, k, m)
        return list(order)

    def err(self, draft: list[int], kind: str, rng: np.random.Generator) -> list[int]:
        """The draft with one more error of a kind, or of another kind if there is no room."""
        room = len(draft) - 1 if kind == "swap" and len(draft) > 1 else len(draft)
        place = int(rng.integers(room)) if draft else 0
        if kind == "insert" or not draft:
            return [*draft[:place], self._random(rng), *draft[place:]]
        before, word, after = draft[:place], draft[place], draft[place + 1 :]
        if kind == "delete" and len(draft) > 1:
            return before + after
        if kind == "swap" and after:
            return [*before, after[0], word, *after[1:]]
        if kind == "move" and len(draft) > 2:
            end = place + int(rng.integers(1, SPAN + 1))
            rest = draft[:place] + draft[end:]
            to = int(rng.integers(len(rest) + 1))
            return rest[:to] + draft[place:end] + rest[to:]
        return [*before, self._instead_of(word, rng), *after]

    def _instead_of(self, word: int, rng: np.random.Generator) -> int:
        near = self.neighbours.get(word)
        if near is None or rng.random() < 0.5:
            return self._random(rng)
        return int(near[rng.integers(len(near))])

    def _random(self, rng: np.random.Generator) -> int:
        place = int(np.searchsorted(self.cumulative, rng.random()))
        return int(self.words[min(place, len(self.words) - 1)])


def _neighbours(dictionary: Dictionary, words: torch.Tensor) -> dict[int, np.ndarray]:
    entries = dictionary.states[words] @ dictionary.whitening
    half_squares = 0.5 * (entries**2).sum(1)
    count = min(NEIGHBOURS + 1, len(words))
    nearest = torch.cat(
        [(part @ entries.T - half_squares).topk(count)[1][:, 1:] for part in entries.split(1024)]
    )
    return dict(zip(words.tolist(), words[nearest].numpy(), strict=True))
