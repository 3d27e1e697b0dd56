"""The prefix language model: vector to text.

Pseudo-tokens of the vector stand before the text, which is causal (Dong et al. 2019, "Unified
Language Model Pre-training", section 2.3). It starts as the embedder, so minutes teach it what a
transformer from scratch needs hours for.

A lexical guess of which words the text holds, made from the vector alone, is added to the logits of
every step. Words that were written get no more of it (coverage): the vector says that they occur,
not that they occur twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nanov2t.embedders.base import EmbedderInfo
from nanov2t.models.dictionary import Dictionary
from nanov2t.models.trunk import Cache, Trunk, TrunkConfig, attention_mask

PREFIX = 8
"""Pseudo-tokens of the vector."""
ENOUGH = 0.75
"""Share of the beams that must have ended; the others are then cut off."""


@dataclass(frozen=True)
class PrefixConfig:
    """The shape of a PrefixLM; saved as its config.json."""

    trunk: TrunkConfig
    dim: int
    """Dimension of the vectors."""
    embedder: EmbedderInfo
    max_tokens: int = 32
    """Longest text it was trained on."""
    kind: str = "prefix_lm"


class PrefixLM(nn.Module):
    """See the module. The embedder's words and the dictionary's entries are not part of its
    weights."""

    entries: Tensor

    def __init__(self, config: PrefixConfig):
        super().__init__()
        self.config = config
        width = config.trunk.hidden
        self.trunk = Trunk(config.trunk)
        entries = torch.zeros(config.trunk.vocabulary, width)
        self.register_buffer("entries", entries, persistent=False)
        self.prefix = nn.Sequential(
            nn.Linear(config.dim, 2 * width), nn.GELU(), nn.Linear(2 * width, PREFIX * width)
        )
        self.prefix_norm = nn.LayerNorm(width)
        self.next = nn.Linear(width, width)
        self.next_norm = nn.LayerNorm(width)
        self.next_entry = nn.Linear(width, width)
        nn.init.zeros_(self.next_entry.weight)
        nn.init.zeros_(self.next_entry.bias)
        self.bias = nn.Parameter(torch.zeros(config.trunk.vocabulary))
        self.scale = nn.Parameter(torch.tensor(0.2))
        self.lexical = LexicalGuess(config.dim, width, config.trunk.vocabulary)

    def unique_weights(self) -> dict[str, Tensor]:
        """Every weight under its name; none is shared."""
        return dict(self.state_dict())

    def read_dictionary(self, dictionary: Dictionary) -> None:
        """Take the entries of the embedder's dictionary."""
        entries = dictionary.states @ dictionary.whitening
        entries = entries - entries.mean(0)
        self.entries = (entries / entries.norm(dim=1).mean()).to(self.bias)  # as long as words

    def guess(self, targets: Tensor, words: Tensor | None = None) -> Tensor:
        """The lexical guess of vectors [n, dim]: log odds, float32 [n, words or vocabulary], zero
        for special tokens."""
        trunk = self.config.trunk
        odds: Tensor = self.lexical(targets, self.trunk.words, self.entries, words).float()
        special = torch.tensor([trunk.cls, trunk.sep, trunk.pad], device=odds.device)
        if words is None:
            return odds.index_fill(1, special, 0.0)
        return odds.masked_fill(torch.isin(words, special), 0.0)

    def embed_prefix(self, targets: Tensor) -> Tensor:
        """[n, PREFIX, hidden] of unit vectors [n, dim]."""
        scaled = (targets * self.config.dim**0.5).to(self.bias.dtype)
        tokens: Tensor = self.prefix_norm(self.prefix(scaled).view(len(targets), PREFIX, -1))
        return tokens

    def hidden(self, targets: Tensor, written: Tensor) -> Tensor:
        """States [n, t, hidden] after each of the ids `written`, long [n, t], the opening token
        first."""
        t = written.shape[1]
        x = torch.cat([self.embed_prefix(targets), self.trunk.embed(written)], 1)
        seen = torch.ones(PREFIX + t, PREFIX + t, dtype=torch.bool, device=x.device).tril()
        seen[:, :PREFIX] = True
        states: Tensor = self.trunk(x, attention_mask(seen[None], x.dtype))
        return states[:, PREFIX:]

    def logits(self, states: Tensor, words: Tensor | None = None) -> Tensor:
        """Logits of the next word without the lexical guess, of states [..., hidden]."""
        tables = (self.trunk.words, self.entries, self.bias)
        return self.score_words(states, *(t if words is None else t[words] for t in tables))

    def score_words(
        self, states: Tensor, embeddings: Tensor, entries: Tensor, bias: Tensor
    ) -> Tensor:
        """As :meth:`logits`, of m words given by their rows, [m, hidden] and [m]."""
        language = self.next_norm(F.gelu(self.next(states)))
        logits = F.linear(language * self.scale, embeddings, bias)
        return logits + F.linear(self.next_entry(states), entries)

    def step(
        self,
        last: Tensor,
        place: int,
        caches: Sequence[Cache],
        guess: Tensor,
        tables: tuple[Tensor, Tensor, Tensor] | None = None,
    ) -> Tensor:
        """One step of every decoding loop: logits, float32 [n, words], of the words that follow the
        ids `last`, long [n], which stand at a place of their texts. No text is empty.

        Args:
            guess: float32 [n, words], the lexical guess, zero for words that were written.
            tables: embeddings, entries and bias of the words, of which the first then closes a
                text; by default the whole vocabulary's.
        """
        x = self.trunk(self.trunk.embed(last[:, None], place), None, caches)[:, 0]
        logits = self.score_words(x, *(tables or (self.trunk.words, self.entries, self.bias)))
        logits = logits.float() + guess
        if place == 0:
            logits[:, 0 if tables else self.config.trunk.sep] = -torch.inf
        return logits

    @torch.inference_mode()
    def generate(
        self, targets: Tensor, beams: int, max_tokens: int, evidence: Tensor | None = None
    ) -> list[list[list[int]]]:
        """The `beams` likeliest texts of each vector [n, dim], best first, by beam search, as ids
        without special tokens."""
        n, trunk = len(targets), self.config.trunk
        caches = [Cache() for _ in self.trunk.layers]
        self.trunk(self.embed_prefix(targets), None, caches)
        guess = self.guess(targets)
        if evidence is not None:
            guess = guess + evidence
        every = torch.arange(n, device=targets.device).repeat_interleave(beams)
        guess = guess[every]
        for cache in caches:
            cache.select(every)
        ids = torch.full((n * beams, 1), trunk.cls, device=targets.device)
        scores = torch.full((n, beams), -torch.inf, device=targets.device)
        scores[:, 0] = 0  # the beams of an input are equal until they have written a word
        ended = torch.zeros(n * beams, dtype=torch.bool, device=targets.device)
        for step in range(max_tokens + 1):
            logits = self.step(ids[:, -1], step, caches, guess)
            best, words = logits.topk(beams + 1, -1)
            gained = best - logits.logsumexp(-1, keepdim=True)
            if step == max_tokens:  # only the closing token fits
                words[:, 0], gained[:, 1:] = trunk.sep, -torch.inf
                gained[:, 0] = 0
            gained[ended], words[ended, 0] = -torch.inf, trunk.pad
            gained[ended, 0] = 0
            total = (scores.flatten()[:, None] + gained).view(n, -1)
            scores, places = total.topk(beams, -1)
            parents = torch.arange(n, device=ids.device)[:, None] * beams + places // (beams + 1)
            parents = parents.flatten()
            chosen = words.view(n, -1).gather(1, places).flatten()
            ids = torch.cat([ids[parents], chosen[:, None]], 1)
            ended = ended[parents] | (chosen == trunk.sep)
            guess = guess[parents].scatter(1, chosen[:, None], 0.0)
            for cache in caches:
                cache.select(parents)
            if ended.view(n, beams).float().mean(1).min() >= ENOUGH:
                break
        texts = [text_of(row, trunk) for row in ids[:, 1:].tolist()]
        return [texts[i : i + beams] for i in range(0, len(texts), beams)]


class LexicalGuess(nn.Module):
    """A vector to the log odds of every word, by its embedding and its dictionary entry."""

    def __init__(self, dim: int, width: int, vocabulary: int):
        super().__init__()
        self.read = nn.Linear(dim, 4 * width)
        self.embedding = nn.Linear(4 * width, width)
        self.entry = nn.Linear(4 * width, width)
        self.direct = nn.Linear(dim, width)
        self.bias = nn.Parameter(torch.zeros(vocabulary))
        for layer in (self.embedding, self.entry, self.direct):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(
        self, targets: Tensor, words: Tensor, entries: Tensor, chosen: Tensor | None
    ) -> Tensor:
        """[n, vocabulary] or [n, chosen] of vectors [n, dim]."""
        tables = (words, entries, self.bias)
        words, entries, bias = (t if chosen is None else t[chosen] for t in tables)
        scaled = (targets * targets.shape[1] ** 0.5).to(self.bias.dtype)
        read = F.gelu(self.read(scaled))
        state = self.entry(read) + self.direct(scaled)
        return F.linear(self.embedding(read), words, bias) + F.linear(state, entries)


def cover(logits: Tensor, guess: Tensor, written: Tensor) -> Tensor:
    """Add the guess [n, words] to logits [n, t, words] of each step, except for words written
    before, long [n, t]."""
    t = written.shape[1]
    until = torch.ones(t, t, dtype=torch.bool, device=written.device).tril()
    earlier = until.tril(-1)
    repeated = ((written[:, :, None] == written[:, None, :]) & earlier).any(2)
    spent = -guess.gather(1, written).masked_fill(repeated, 0.0)  # [n, t]
    places = written[:, None, :].expand(-1, t, -1)
    return (logits + guess[:, None]).scatter_add(2, places, spent[:, None] * until)


def text_of(row: Sequence[int], trunk: TrunkConfig) -> list[int]:
    """What was written before the closing token or the padding."""
    ends = (trunk.sep, trunk.pad)
    return list(row[: next((i for i, id_ in enumerate(row) if id_ in ends), len(row))])
