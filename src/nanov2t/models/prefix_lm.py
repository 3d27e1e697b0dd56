"""The prefix language model: vector to text.

Pseudo-tokens of the vector stand before the text, which is causal (Dong et al. 2019, "Unified
Language Model Pre-training", section 2.3). The model starts as the embedder, so it learns in
minutes what takes a transformer from scratch hours.

It guesses from the vector which words the text holds, and adds this lexical guess to the logits of
every step, except for words that it has written (coverage): the vector says that they occur, not
that they occur twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nanov2t.models.dictionary import Dictionary
from nanov2t.models.trunk import Cache, NetworkShape, Trunk, TrunkConfig, attention_mask

PREFIX = 8  # pseudo-tokens of the vector
ENOUGH = 0.75  # share of the beams that must have ended; the others are then cut off


class PrefixLM(nn.Module):
    """See the module. The embedder's words and dictionary entries are not among its weights."""

    entries: Tensor

    def __init__(self, config: NetworkShape):
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

    unique_weights = nn.Module.state_dict  # none is shared

    def read_dictionary(self, dictionary: Dictionary) -> None:
        """Take the entries of the embedder's dictionary."""
        entries = dictionary.states @ dictionary.whitening
        entries = entries - entries.mean(0)
        self.entries = (entries / entries.norm(dim=1).mean()).to(self.bias)  # as long as words

    def guess(self, targets: Tensor, words: Tensor | None = None) -> Tensor:
        """The lexical guess of vectors [n, dim]: log odds, float32 [n, words or vocabulary], zero
        for special tokens."""
        odds: Tensor = self.lexical(targets, self.rows_of(words, self.lexical.bias)).float()
        special = torch.tensor(self.config.trunk.special, device=odds.device)
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
        x = torch.cat([self.embed_prefix(targets), self.trunk.embed(written)], 1)
        seen = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).tril()
        seen[:, :PREFIX] = True
        states: Tensor = self.trunk(x, attention_mask(seen[None], x.dtype))
        return states[:, PREFIX:]

    def rows_of(self, words: Tensor | None = None, bias: Tensor | None = None) -> WordRows:
        """The output rows of words, long [m]; of the whole vocabulary if it is None."""
        every = (self.trunk.words, self.entries, self.bias if bias is None else bias)
        return WordRows(*(rows if words is None else rows[words] for rows in every))

    def logits(self, states: Tensor, words: Tensor | WordRows | None = None) -> Tensor:
        """Logits [..., words or vocabulary] of the next word without the lexical guess, of states
        [..., hidden]."""
        rows = words if isinstance(words, WordRows) else self.rows_of(words)
        language = self.next_norm(F.gelu(self.next(states)))
        logits = F.linear(language * self.scale, rows.embeddings, rows.bias)
        return logits + F.linear(self.next_entry(states), rows.entries)

    def step(
        self,
        last: Tensor,
        place: int | Tensor,
        caches: Sequence[Cache],
        guess: Tensor,
        rows: WordRows | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """The step of every decoding loop: logits, float32 [n, words], of the words that follow the
        ids `last`, long [n]. No text is empty.

        Args:
            place: of `last` in its text: one for all rows, or long [n, 1].
            guess: float32 [n, words], the lexical guess, zero for words that were written.
            rows: of the words, the first of which closes a text; by default the vocabulary's.
        """
        x = self.trunk(self.trunk.embed(last[:, None], place), mask, caches)[:, 0]
        logits = self.logits(x, rows).float() + guess
        if isinstance(place, int) and place == 0:
            logits[:, 0 if rows else self.config.trunk.sep] = -torch.inf
        return logits

    @torch.inference_mode()
    def generate(
        self, target: Tensor, beams: int, max_tokens: int, evidence: Tensor | None = None
    ) -> list[list[int]]:
        """The `beams` likeliest texts of a vector [dim], best first, by beam search, as ids without
        special tokens. `evidence` is added to the lexical guess."""
        trunk, device = self.config.trunk, target.device
        guess = self.guess(target[None])
        if evidence is not None:
            guess = guess + evidence
        caches = self.trunk.begin(self.embed_prefix(target[None]))
        for cache in caches:
            cache.select(torch.zeros(beams, dtype=torch.long, device=device))
        guess = guess.repeat(beams, 1)
        ids = torch.full((beams, 1), trunk.cls, device=device)
        scores = torch.full((beams,), -torch.inf, device=device)
        scores[0] = 0  # the beams are equal until they have written a word
        ended = torch.zeros(beams, dtype=torch.bool, device=device)
        for step in range(max_tokens + 1):
            logits = self.step(ids[:, -1], step, caches, guess)
            best, words = logits.topk(beams + 1, -1)
            gained = best - logits.logsumexp(-1, keepdim=True)
            if step == max_tokens:  # only the closing token fits
                words[:, 0], gained[:, 1:] = trunk.sep, -torch.inf
                gained[:, 0] = 0
            gained[ended], words[ended, 0] = -torch.inf, trunk.pad
            gained[ended, 0] = 0
            scores, places = (scores[:, None] + gained).flatten().topk(beams)
            parents, chosen = places // (beams + 1), words.flatten()[places]
            ids = torch.cat([ids[parents], chosen[:, None]], 1)
            ended = ended[parents] | (chosen == trunk.sep)
            guess = guess[parents].scatter(1, chosen[:, None], 0.0)
            for cache in caches:
                cache.select(parents)
            if ended.float().mean() >= ENOUGH:
                break
        return [text_of(row, trunk) for row in ids[:, 1:].tolist()]

    @torch.inference_mode()
    def draw(
        self,
        caches: Sequence[Cache],
        guess: Tensor,
        noise: Tensor,
        words: Tensor | None = None,
        rows: WordRows | None = None,
    ) -> list[list[int]]:
        """Write n texts, as ids without special tokens. Each word is one of the likeliest, to whose
        logits noise is added: Gumbel noise draws from the model.

        Args:
            caches: of layers that have read the vectors' pseudo-tokens.
            guess: float32 [n, words], the lexical guess; changed in place.
            noise: float32 [n, most tokens, likeliest words].
            words, rows: the words to write, long [m], and their output rows, as in :meth:`step`.
        """
        trunk, n = self.config.trunk, len(noise)
        ids = torch.full((n, 1), trunk.cls, device=noise.device)
        for step in range(noise.shape[1]):
            logits = self.step(ids[:, -1], step, caches, guess, rows)
            best, places = logits.topk(noise.shape[2], -1)
            chosen = places.gather(1, (best + noise[:, step]).argmax(-1, keepdim=True))
            ids = torch.cat([ids, chosen if words is None else words[chosen]], 1)
            guess.scatter_(1, chosen, 0.0)  # written, so no longer missing
            if (ids == trunk.sep).any(1).all():
                break
        return [text_of(row, trunk) for row in ids[:, 1:].tolist()]


class WordRows(NamedTuple):
    """Output rows of m words."""

    embeddings: Tensor  # [m, hidden]
    entries: Tensor  # [m, hidden], of the dictionary
    bias: Tensor  # [m]


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

    def forward(self, targets: Tensor, rows: WordRows) -> Tensor:
        """Vectors [n, dim] to [n, words of the rows]."""
        scaled = (targets * targets.shape[1] ** 0.5).to(self.bias.dtype)
        read = F.gelu(self.read(scaled))
        state = self.entry(read) + self.direct(scaled)
        words = F.linear(self.embedding(read), rows.embeddings, rows.bias)
        return words + F.linear(state, rows.entries)


def cover(logits: Tensor, guess: Tensor, written: Tensor) -> Tensor:
    """Add the guess [n, words] to logits [n, t, words] of each step, except for words written
    before, long [n, t]."""
    t = written.shape[1]
    until = torch.ones(t, t, dtype=torch.bool, device=written.device).tril()
    repeated = ((written[:, :, None] == written[:, None, :]) & until.tril(-1)).any(2)
    spent = -guess.gather(1, written).masked_fill(repeated, 0.0)  # [n, t]
    places = written[:, None, :].expand(-1, t, -1)
    return (logits + guess[:, None]).scatter_add(2, places, spent[:, None] * until)


def text_of(row: Sequence[int], trunk: TrunkConfig) -> list[int]:
    """What was written before the closing token or the padding."""
    ends = (trunk.sep, trunk.pad)
    return list(row[: next((i for i, id_ in enumerate(row) if id_ in ends), len(row))])
