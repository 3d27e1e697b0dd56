"""A linear guess of the words in a text."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LexicalHead(nn.Module):
    """A linear guess at which words a text holds, added to the decoder's logits at every step.

    With coverage: once a token is written, its guess gives way to its unconditional log frequency,
    since the vector has no more to say of it than of any other text.
    """

    def __init__(self, dim: int, vocabulary: int, vector_scale: float):
        super().__init__()
        self.vector_scale = vector_scale
        self.linear = nn.Linear(dim, vocabulary)
        self.scale = nn.Parameter(torch.ones(1))  # FSDP takes no scalars
        self.log_frequency: Tensor
        self.register_buffer("log_frequency", torch.zeros(vocabulary))

    def set_frequencies(self, counts: Tensor) -> None:
        """Start from the training text's token counts, [vocabulary]: with a zero vector the guess
        is the unigram."""
        self.log_frequency.copy_(torch.log((counts + 1) / (counts + 1).sum()))
        self.linear.bias.data.copy_(self.log_frequency)
        self.linear.weight.data.zero_()

    def guess(self, vectors: Tensor) -> Tensor:
        """Log odds of the words, unscaled: float32 [n, vocabulary] for vectors [n, dim]."""
        odds: Tensor = self.linear(self.vector_scale * vectors)
        return odds.float()

    def loss(self, vectors: Tensor, labels: Tensor) -> Tensor:
        """Cross entropy per token, in nats, of the labels [n, t] (-100 ignored) as a bag of
        words."""
        log_probs = self.guess(vectors).log_softmax(-1)
        known = labels.ge(0)
        return -(log_probs.gather(1, labels.clamp(min=0)) * known).sum() / known.sum()

    def forward(self, vectors: Tensor, written: Tensor) -> tuple[Tensor, Tensor]:
        """The guess, float32 [n, vocabulary], for vectors [n, dim], and what coverage adds to it:
        float32 [n, t], from position i on, at the token written[:, i], for decoder input ids [n,
        t]."""
        guess = self.scale * self.guess(vectors)
        t = written.shape[1]
        # Each id counts at its first occurrence, or a repeated word would be corrected twice.
        earlier = torch.ones(t, t, dtype=torch.bool, device=written.device).tril(-1)
        first = ~((written[:, :, None] == written[:, None, :]) & earlier).any(2)
        return guess, (self.scale * self.log_frequency[written] - guess.gather(1, written)) * first
