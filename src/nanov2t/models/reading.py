"""A prefix language model that has read one vector: draws texts and scores them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from nanov2t.models.prefix_lm import PREFIX, PrefixLM, cover, text_of
from nanov2t.models.trunk import Branches, Cache, attention_mask

WORDS = 4096
"""Likeliest words of a vector, which texts are drawn from. They hold 97 % of the words of crops of
16 tokens at a seventh of the vocabulary's cost; edits bring in the others."""
CHOICES = 16
"""Likeliest words of a step, one of which is drawn."""
ROWS = 64
"""Texts read at a time."""
UNREADABLE = -10.0
"""Nats a token of texts that are too long for the model."""


class Table(NamedTuple):
    """Output words, of which the first closes a text."""

    words: Tensor
    """long [m]"""
    places: Tensor
    """long [vocabulary]: where a word stands in the table; 0 if it does not."""
    embeddings: Tensor
    """[m, hidden], as the dictionary entries below."""
    entries: Tensor
    bias: Tensor
    guess: Tensor
    """float32 [m], the lexical guess."""


class Fluency(NamedTuple):
    """How a text of t tokens reads."""

    chosen: Tensor
    """float32 [t + 1], log probabilities of its tokens and of its end, in nats."""
    states: Tensor
    """[t + 1, hidden], of the model after each beginning of the text."""
    total: Tensor
    """float32 [t + 1], the log of the sum of all words' odds after each beginning."""


class Reading:
    """A model that has read a vector.

    Args:
        model: in eval mode.
        target: float32 [dim], of unit length.
        evidence: float32 [vocabulary], further log odds that the text has each word.
    """

    @torch.inference_mode()
    def __init__(self, model: PrefixLM, target: Tensor, evidence: Tensor | None = None):
        self.model, self.target = model, target[None]
        trunk = model.config.trunk
        self.guess = model.guess(self.target)[0]
        if evidence is not None:
            self.guess = self.guess + evidence
        likely = self.guess + model.bias.float()
        likely[[trunk.cls, trunk.pad]] = -torch.inf
        likely[trunk.sep] = torch.inf
        self.words = likely.topk(min(WORDS, len(likely))).indices
        self._table = self._rows(self.words)
        self._prefix = [Cache() for _ in model.trunk.layers]
        model.trunk(model.embed_prefix(self.target), None, self._prefix)

    def table(self, texts: Sequence[Sequence[int]]) -> Table:
        """The closing token, the likeliest words, and those of some texts."""
        used = torch.tensor([word for text in texts for word in text], dtype=torch.long)
        used = used.to(self.words.device).unique()
        kept = self._table
        rare = used[(kept.places[used] == 0) & (used != self.words[0])]
        if not len(rare):
            return kept
        words, _, *rows = self._rows(rare)
        places = kept.places.clone()
        places[words] = torch.arange(len(words), device=words.device) + len(kept.words)
        joined = (torch.cat(pair) for pair in zip(kept[2:], rows, strict=True))
        return Table(torch.cat([kept.words, words]), places, *joined)

    def _rows(self, words: Tensor) -> Table:
        places = torch.zeros_like(self.guess, dtype=torch.long)
        places[words] = torch.arange(len(words), device=words.device)
        model = self.model
        tables = (model.trunk.words, model.entries, model.bias, self.guess)
        return Table(words, places, *(table[words] for table in tables))

    def caches(self) -> list[Branches]:
        """Caches of the vector's pseudo-tokens, for any number of texts."""
        return [Branches(cache) for cache in self._prefix]

    @torch.inference_mode()
    def read(self, texts: Sequence[Sequence[int]]) -> list[Fluency]:
        """The fluency of texts of one length, without special tokens."""
        model, trunk, device = self.model, self.model.config.trunk, self.words.device
        length = len(texts[0])
        if length + 1 > trunk.positions:
            odds = torch.full((length + 1,), UNREADABLE, device=device)
            states = self._table.embeddings.new_zeros(length + 1, trunk.hidden)
            return [Fluency(odds, states, odds)] * len(texts)
        table = self.table(texts)
        seen = torch.ones(length + 1, PREFIX + length + 1, dtype=torch.bool, device=device)
        found: list[Fluency] = []
        for start in range(0, len(texts), ROWS):
            ids = torch.tensor(texts[start : start + ROWS], dtype=torch.long, device=device)
            written = F.pad(ids, (1, 0), value=trunk.cls)
            x = model.trunk.embed(written)
            mask = attention_mask(seen.tril(PREFIX)[None], x.dtype)
            states = model.trunk(x, mask, self.caches())
            logits = model.score_words(states, table.embeddings, table.entries, table.bias)
            guess = table.guess.expand(len(ids), -1)
            odds = cover(logits.float(), guess, table.places[written])
            total = odds.logsumexp(-1)
            labels = table.places[F.pad(ids, (0, 1), value=trunk.sep)]
            chosen = odds.gather(2, labels[..., None])[..., 0] - total
            found += [Fluency(*row) for row in zip(chosen, states.clone(), total, strict=True)]
        return found

    @torch.inference_mode()
    def continuations(
        self, texts: Sequence[tuple[Sequence[int], Fluency]], words: Tensor
    ) -> list[Tensor]:
        """Log probabilities, float32 [tokens + 1, words] a text, of words, long, after each of its
        beginnings."""
        model = self.model
        tables = (model.trunk.words, model.entries, model.bias, self.guess)
        embeddings, entries, bias, guess = (table[words] for table in tables)
        states = torch.cat([fluency.states for _, fluency in texts])
        logits = model.score_words(states, embeddings, entries, bias).float()
        result = []
        lengths = [len(fluency.total) for _, fluency in texts]
        for (ids, fluency), odds in zip(texts, logits.split(lengths), strict=True):
            row = torch.tensor([-1, *ids], device=words.device)
            missing = ((row[:, None] == words).cumsum(0) == 0) * guess
            result.append(odds + missing - fluency.total[:, None])
        return result

    @torch.inference_mode()
    def draw(self, noise: Tensor) -> list[list[int]]:
        """Texts, as ids without special tokens.

        Args:
            noise: float32 [n, steps, CHOICES], added to the logits of the likeliest words; Gumbel
                noise draws from the model. No text is longer than `steps`.
        """
        model, trunk, device = self.model, self.model.config.trunk, self.words.device
        n, steps, _ = noise.shape
        table, caches, noise = self.table([]), self.caches(), noise.to(device)
        guess = table.guess.repeat(n, 1)
        ids = torch.full((n, 1), trunk.cls, device=device)
        for step in range(steps):
            tables = table.embeddings, table.entries, table.bias
            logits = model.step(ids[:, -1], step, caches, guess, tables)
            best, words = logits.topk(CHOICES, -1)
            chosen = words.gather(1, (best + noise[:, step]).argmax(-1, keepdim=True))
            ids = torch.cat([ids, table.words[chosen]], 1)
            guess.scatter_(1, chosen, 0.0)  # written, so no longer missing
            if (ids == trunk.sep).any(1).all():
                break
        return [text_of(row, trunk) for row in ids[:, 1:].tolist()]
