"""Drafts as an edit network reads them: token ids, the embedder's states of them, vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from nanov2t.embedders.base import Embedder
from nanov2t.embedders.text import decode_texts
from nanov2t.train.data import mean_state
from nanov2t.train.texts import padded


class Drafts(NamedTuple):
    """n drafts of at most t tokens."""

    ids: Tensor
    """long [n, t], with special tokens, padded"""
    mask: Tensor
    """bool [n, t]"""
    states: Tensor
    """[n, t, hidden]"""
    vectors: Tensor
    """float32 [n, dim]"""

    def pick(self, rows: Tensor) -> Drafts:
        """Some of them, without the places that are then empty."""
        mask = self.mask[rows]
        t = int(mask.sum(1).max())
        return Drafts(self.ids[rows, :t], mask[:, :t], self.states[rows, :t], self.vectors[rows])

    def rows(self) -> list[list[int]]:
        """The ids of each, without special tokens."""
        lengths = self.mask.sum(1).tolist()
        return [row[1 : n - 1] for row, n in zip(self.ids.tolist(), lengths, strict=True)]


class DraftReader:
    """Reads drafts of at most `longest` words; what is behind them is cut off.

    Drafts pass through text, as in a search: two rows of ids that say the same are the same draft.
    """

    def __init__(self, embedder: Embedder, longest: int):
        self.embedder, self.longest = embedder, longest

    def __call__(self, rows: Sequence[Sequence[int]]) -> Drafts:
        """Drafts of token ids without special tokens."""
        embedder, pad = self.embedder, self.embedder.tokenizer.pad_token_id
        tokens = embedder.tokenize(decode_texts(rows, embedder.tokenizer, embedder))
        cut = [[row[0], *row[1:-1][: self.longest], row[-1]] for row in tokens]
        ids = padded(cut, pad).to(embedder.model.device)
        mask = ids != pad
        states = embedder.states_of_ids(ids, mask)
        return Drafts(ids, mask, states, embedder.of_mean(mean_state(states.float(), mask)))
