"""A prefix language model in a search: it writes texts for a vector, and says how texts read."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from nanov2t.embedders.base import Embedder
from nanov2t.embedders.text import decode_texts
from nanov2t.fast import packed, search_dtype
from nanov2t.models.prefix_lm import PREFIX, PrefixLM, WordRows, cover
from nanov2t.models.trunk import Cache, attention_mask

ROOM = 4  # tokens by which a hypothesis may exceed the texts that the model was trained on
KEPT = 8  # readings kept: as many as searches that take turns
WORDS = 4096
"""Likeliest words of a vector, from which texts are drawn. They are 97 % of the words of crops of
16 tokens, at a seventh of the vocabulary's cost; edits bring in the others."""
CHOICES = 16  # likeliest words of a step, one of which is drawn
ROWS = 64  # texts read at a time
UNREADABLE = -10.0  # nats a token of texts that are too long for the model


class Hypothesizer:
    """A packed copy of a prefix language model in its device's fastest number format."""

    def __init__(self, model: PrefixLM, embedder: Embedder):
        self.embedder, self.device = embedder, embedder.model.device
        self.limit = model.config.max_tokens + ROOM
        self.model = packed(copy.deepcopy(model).to(self.device, search_dtype(self.device)))
        self._readings: dict[bytes, Reading] = {}

    def hypothesize(
        self,
        target: np.ndarray,
        count: int,
        longest: int | None = None,
        evidence: np.ndarray | None = None,
    ) -> list[str]:
        """The `count` likeliest texts of a target, float32 [dim], of at most `longest` tokens, best
        first. It takes one target, so that no text depends on other targets."""
        limit = min(longest or self.limit, self.limit)
        ids = self.model.generate(self._tensor(target), count, limit, self._tensor(evidence))
        return decode_texts(ids, self.embedder.tokenizer, self.embedder)

    def read(self, target: np.ndarray, evidence: np.ndarray | None = None) -> Reading:
        """The reading of a target, float32 [dim]; see :class:`Reading`. Caches the last KEPT."""
        key = target.tobytes()
        reading = self._readings.pop(key, None)
        if reading is None:
            reading = Reading(self.model, self._tensor(target), self._tensor(evidence))
        self._readings[key] = reading
        if len(self._readings) > KEPT:
            del self._readings[next(iter(self._readings))]
        return reading

    def _tensor(self, array: np.ndarray | None) -> Any:
        return None if array is None else torch.from_numpy(array.astype(np.float32)).to(self.device)


class Table(NamedTuple):
    """Output words, of which the first closes a text."""

    words: Tensor  # long [m]
    places: Tensor  # long [vocabulary]: where a word stands in the table; 0 if it does not
    guess: Tensor  # float32 [m], the lexical guess
    rows: WordRows


class Fluency(NamedTuple):
    """How a text of t tokens reads."""

    chosen: Tensor  # float32 [t + 1], log probabilities of its tokens and of its end, in nats
    states: Tensor  # [t + 1, hidden], of the model after each beginning of the text
    total: Tensor  # float32 [t + 1], the log of the sum of all words' odds after each beginning


class Reading:
    """A model that has read a unit vector, float32 [dim]. `evidence`, float32 [vocabulary], is
    added to the log odds that the text has each word."""

    @torch.inference_mode()
    def __init__(self, model: PrefixLM, target: Tensor, evidence: Tensor | None = None):
        self.model, trunk = model, model.config.trunk
        self.guess = model.guess(target[None])[0]
        if evidence is not None:
            self.guess = self.guess + evidence
        likely = self.guess + model.bias.float()
        likely[[trunk.cls, trunk.pad]] = -torch.inf
        likely[trunk.sep] = torch.inf
        self.words = likely.topk(min(WORDS, len(likely))).indices
        self._likely = self._rows(self.words)
        self._prefix = model.trunk.begin(model.embed_prefix(target[None]))

    def table(self, texts: Sequence[Sequence[int]]) -> Table:
        """The closing token, the likeliest words, and those of some texts."""
        used = torch.tensor([word for text in texts for word in text], dtype=torch.long)
        used = used.to(self.words.device).unique()
        used = used[(self._likely.places[used] == 0) & (used != self.words[0])]
        return self._rows(torch.cat([self.words, used])) if len(used) else self._likely

    def _rows(self, words: Tensor) -> Table:
        places = torch.zeros_like(self.guess, dtype=torch.long)
        places[words] = torch.arange(len(words), device=words.device)
        return Table(words, places, self.guess[words], self.model.rows_of(words))

    def caches(self) -> list[Cache]:
        """Caches of the vector's pseudo-tokens, for any number of texts."""
        return [Cache(cache.kept) for cache in self._prefix]

    @torch.inference_mode()
    def read(self, texts: Sequence[Sequence[int]]) -> list[Fluency]:
        """The fluency of texts of one length, without special tokens."""
        model, trunk, device = self.model, self.model.config.trunk, self.words.device
        length = len(texts[0])
        if length + 1 > trunk.positions:
            odds = torch.full((length + 1,), UNREADABLE, device=device)
            states = model.bias.new_zeros(length + 1, trunk.hidden)
            return [Fluency(odds, states, odds)] * len(texts)
        table = self.table(texts)
        seen = torch.ones(length + 1, PREFIX + length + 1, dtype=torch.bool, device=device)
        found: list[Fluency] = []
        for start in range(0, len(texts), ROWS):
            ids = torch.tensor(texts[start : start + ROWS], dtype=torch.long, device=device)
            written = F.pad(ids, (1, 0), value=trunk.cls)
            x = model.trunk.embed(written)
            states = model.trunk(x, attention_mask(seen.tril(PREFIX)[None], x.dtype), self.caches())
            logits = model.logits(states, table.rows).float()
            odds = cover(logits, table.guess.expand(len(ids), -1), table.places[written])
            total = odds.logsumexp(-1)
            labels = table.places[F.pad(ids, (0, 1), value=trunk.sep)]
            chosen = odds.gather(2, labels[..., None])[..., 0] - total
            found += [Fluency(*row) for row in zip(chosen, states.clone(), total, strict=True)]
        return found

    @torch.inference_mode()
    def continuations(
        self, texts: Sequence[tuple[Sequence[int], Fluency]], words: Tensor
    ) -> list[Tensor]:
        """For each text, the log probabilities of words, long, after each of its beginnings:
        float32 [tokens + 1, words]."""
        states = torch.cat([fluency.states for _, fluency in texts])
        logits = self.model.logits(states, words).float()
        result = []
        lengths = [len(fluency.total) for _, fluency in texts]
        for (ids, fluency), odds in zip(texts, logits.split(lengths), strict=True):
            row = torch.tensor([-1, *ids], device=words.device)
            missing = ((row[:, None] == words).cumsum(0) == 0) * self.guess[words]
            result.append(odds + missing - fluency.total[:, None])
        return result

    @torch.inference_mode()
    def draw(self, noise: Tensor) -> list[list[int]]:
        """Texts, as ids without special tokens, by noise float32 [n, most tokens, CHOICES]: see
        :meth:`PrefixLM.draw`."""
        table = self._likely
        guess, noise = table.guess.repeat(len(noise), 1), noise.to(self.words.device)
        return self.model.draw(self.caches(), guess, noise, table.words, table.rows)


class Beginnings:
    """All beginnings of a text, which a model continues together. At first each has a row, from the
    empty beginning to the whole text. `ids` are without special tokens.

    Attributes:
        table: the words that may follow.
        lengths: long [rows], tokens of each beginning.
        written: long [rows, words], the words after it.
        odds: float32 [rows, words of the table], log probabilities of the next word.
        total: float32 [rows], log probability of what was written.
    """

    @torch.inference_mode()
    def __init__(self, reading: Reading, ids: Sequence[int], fluency: Fluency):
        self.model, device = reading.model, reading.words.device
        self.table, trunk = reading.table([ids]), self.model.trunk
        rows = len(ids) + 1
        text = torch.tensor([trunk.config.cls, *ids], device=device)
        self.seen = torch.ones(rows, PREFIX + rows, dtype=torch.bool, device=device).tril(PREFIX)
        x, begun = trunk.embed(text[None]), reading.caches()
        trunk(x, attention_mask(self.seen[None], x.dtype), begun)
        self.caches = [Cache(cache.joined()) for cache in begun]
        self.lengths = torch.arange(rows, device=device)
        self.written = text.new_zeros(rows, 0)
        self.total = torch.zeros(rows, device=device)
        read = (text[:, None] == self.table.words).cumsum(0) > 0
        self.guess = self.table.guess.expand(rows, -1).masked_fill(read, 0.0)
        logits = self.model.logits(fluency.states, self.table.rows).float()
        self.odds = (logits + self.guess).log_softmax(-1)

    @torch.inference_mode()
    def write(self, rows: Tensor, words: Tensor) -> None:
        """Keep some rows, long [m], and add to each a word, by its place in the table."""
        for cache in self.caches:
            cache.select(rows)
        self.total = self.total[rows] + self.odds[rows, words]
        self.lengths, ids = self.lengths[rows], self.table.words[words]
        self.seen = F.pad(self.seen[rows], (0, 1), value=True)
        places = self.lengths[:, None] + 1 + self.written.shape[1]
        self.written = torch.cat([self.written[rows], ids[:, None]], 1)
        self.guess = self.guess[rows].scatter(1, words[:, None], 0.0)
        mask = attention_mask(self.seen, self.model.bias.dtype)
        logits = self.model.step(ids, places, self.caches, self.guess, self.table.rows, mask)
        self.odds = logits.log_softmax(-1)
