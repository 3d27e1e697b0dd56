"""A prefix language model as searches use it: vectors in, texts out."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch

from nanov2t.embedders.base import Embedder
from nanov2t.embedders.text import decode_texts
from nanov2t.fast.numbers import search_dtype
from nanov2t.fast.packed import packed
from nanov2t.models.prefix_lm import PrefixLM

ROWS = 64
"""Texts rewritten at a time."""
ROOM = 4
"""Tokens that a guess may be longer than the texts that the model was trained on."""


class Guesser:
    """A model in the number format and the layout that its device multiplies fastest."""

    def __init__(self, model: PrefixLM, embedder: Embedder):
        self.embedder, self.device = embedder, embedder.model.device
        self.limit = model.config.max_tokens + ROOM
        dtype = search_dtype(self.device)
        self.model = packed(copy.deepcopy(model).to(self.device, dtype))

    def hypothesize(self, target: np.ndarray, count: int) -> list[str]:
        """The `count` likeliest texts of a target, float32 [dim], best first. One target at a
        time: what is guessed does not depend on what else is searched."""
        vector = torch.from_numpy(target.astype(np.float32))[None].to(self.device)
        [guesses] = self.model.generate(vector, count, self.limit)
        return decode_texts(guesses, self.embedder.tokenizer, self.embedder)

    def rewrite(
        self,
        targets: Sequence[np.ndarray],
        texts: Sequence[Sequence[int]],
        kept: Sequence[int],
        bonus: Sequence[float],
        noise: Sequence[np.ndarray],
    ) -> list[list[int]]:
        """The ends of texts written anew: see :meth:`PrefixLM.rewrite`; targets are float32 [dim]
        each, noise float32 [limit, CHOICES] each."""
        found: list[list[int]] = []
        for start in range(0, len(texts), ROWS):
            part = slice(start, start + ROWS)
            vectors = torch.from_numpy(np.stack(targets[part])).to(self.device)
            drawn = torch.from_numpy(np.stack(noise[part])).to(self.device)
            found += self.model.rewrite(vectors, texts[part], kept[part], bonus[part], drawn)
        return found
