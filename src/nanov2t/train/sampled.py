"""A sampled softmax (cf. Jean et al. 2015, "On Using Very Large Target Vocabulary"), since logits
over the whole vocabulary would be a third of a step.

Candidates are the most frequent words, those of the texts, and some rarer ones drawn at random. A
logit is corrected by the log of its word's chance to be a candidate.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nanov2t.models.dictionary import Dictionary

ALWAYS = 2000
"""Most frequent words that are always candidates."""
RARER = 24_000
"""Rank of the rarest word that may be drawn."""
DRAWN = 2048


class Candidates(NamedTuple):
    """Words to choose among."""

    words: Tensor
    """long [c], ascending"""
    correction: Tensor
    """float32 [c], to be added to their logits in a loss"""
    stand_in: Tensor
    """float32 [c], to be added to their logits when one is drawn"""

    def places(self, words: Tensor) -> Tensor:
        """Where words, of any shape, all of them candidates, stand among them."""
        return torch.searchsorted(self.words, words.contiguous())


def every_word(dictionary: Dictionary, device: torch.device) -> Candidates:
    """The whole vocabulary."""
    words = torch.arange(len(dictionary.log_frequency), device=device)
    zero = torch.zeros(len(words), device=device)
    return Candidates(words, zero, zero)


class CandidateSampler:
    """Draws candidates of a dictionary's words; those of `special` tokens are always among them."""

    def __init__(self, dictionary: Dictionary, special: list[int], device: torch.device):
        vocabulary, words = len(dictionary.log_frequency), dictionary.words
        self.frequency = dictionary.log_frequency.exp().to(device)
        self.always = torch.cat([words[:ALWAYS], torch.tensor(special)]).to(device)
        self.rarer = words[ALWAYS:RARER].to(device)
        self.drawn = min(DRAWN, len(self.rarer))
        missed = torch.ones(vocabulary)  # the chance of each word not to be drawn
        if self.drawn:
            missed[words[ALWAYS:RARER]] = 1 - self.drawn / len(self.rarer)
        missed[self.always.cpu()] = 0
        self.missed = missed.to(device)

    def draw(self, texts: Tensor, rng: np.random.Generator) -> Candidates:
        """Candidates for the words of texts, long [m]."""
        places = torch.from_numpy(rng.permutation(len(self.rarer))[: self.drawn])
        drawn = self.rarer[places.to(self.rarer.device)]
        words = torch.unique(torch.cat([self.always, drawn, texts]))
        missed = self.missed[words]
        correction = -torch.log1p(-missed * (1 - self.frequency[words]) ** len(texts))
        stand_in = -torch.log1p(-missed.masked_fill(torch.isin(words, texts), 0))
        return Candidates(words, correction, stand_in)
