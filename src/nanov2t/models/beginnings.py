"""All beginnings of a text, continued by a prefix language model at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from nanov2t.models.prefix_lm import PREFIX
from nanov2t.models.reading import Fluency, Reading
from nanov2t.models.trunk import Branches, attention_mask


class Beginnings:
    """Rows of a beginning of one text and the words written after it. At first every beginning has
    one row, from the empty one to the whole text.

    Args:
        ids: the text's, without special tokens.
        fluency: the text's.

    Attributes:
        lengths: long [rows], tokens of each beginning.
        written: long [rows, words], the words after it.
        odds: float32 [rows, words of the table], log probabilities of the next word.
        total: float32 [rows], log probability of what was written.
    """

    @torch.inference_mode()
    def __init__(self, reading: Reading, ids: Sequence[int], fluency: Fluency):
        self.model, trunk = reading.model, reading.model.config.trunk
        self.table, device = reading.table([ids]), reading.words.device
        rows = len(ids) + 1
        text = torch.tensor([trunk.cls, *ids], device=device)
        seen = torch.ones(rows, PREFIX + rows, dtype=torch.bool, device=device).tril(PREFIX)
        x = self.model.trunk.embed(text[None])
        begun = reading.caches()
        self.model.trunk(x, attention_mask(seen[None], x.dtype), begun)
        self.caches = [Branches(cache.joined()) for cache in begun]
        self.lengths = torch.arange(rows, device=device)
        self.seen = seen
        self.written = text.new_zeros(rows, 0)
        self.total = torch.zeros(rows, device=device)
        read = (text[:, None] == self.table.words).cumsum(0) > 0
        self.guess = self.table.guess.expand(rows, -1).masked_fill(read, 0.0)
        self._look(fluency.states)

    @torch.inference_mode()
    def write(self, rows: Tensor, words: Tensor) -> None:
        """Keep some rows, long [m], and add to each a word, by its place in the table."""
        trunk = self.model.trunk
        for cache in self.caches:
            cache.select(rows)
        self.total = self.total[rows] + self.odds[rows, words]
        self.lengths, ids = self.lengths[rows], self.table.words[words]
        self.seen = F.pad(self.seen[rows], (0, 1), value=True)
        place = self.lengths + 1 + self.written.shape[1]
        x = trunk.norm(F.embedding(ids, trunk.words) + trunk.places[place])
        states = trunk(x[:, None], attention_mask(self.seen, x.dtype), self.caches)[:, 0]
        self.written = torch.cat([self.written[rows], ids[:, None]], 1)
        self.guess = self.guess[rows].scatter(1, words[:, None], 0.0)
        self._look(states)

    def _look(self, states: Tensor) -> None:
        table = self.table
        logits = self.model.score_words(states, table.embeddings, table.entries, table.bias)
        self.odds = (logits.float() + self.guess).log_softmax(-1)
