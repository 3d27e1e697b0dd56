"""A prefix language model as searches use it: vectors in, texts out."""

from __future__ import annotations

import copy

import numpy as np
import torch

from nanov2t.embedders.base import Embedder
from nanov2t.embedders.text import decode_texts
from nanov2t.fast.numbers import search_dtype
from nanov2t.fast.packed import packed
from nanov2t.models.prefix_lm import PrefixLM
from nanov2t.models.reading import Reading

ROOM = 4
"""Tokens that a guess may be longer than the texts that the model was trained on."""


class Guesser:
    """A model in the number format and the layout that its device multiplies fastest."""

    def __init__(self, model: PrefixLM, embedder: Embedder):
        self.embedder, self.device = embedder, embedder.model.device
        self.limit = model.config.max_tokens + ROOM
        dtype = search_dtype(self.device)
        self.model = packed(copy.deepcopy(model).to(self.device, dtype))
        self._last: tuple[bytes, Reading] | None = None

    def hypothesize(self, target: np.ndarray, count: int) -> list[str]:
        """The `count` likeliest texts of a target, float32 [dim], best first. One target at a
        time: what is guessed does not depend on what else is searched."""
        vector = torch.from_numpy(target.astype(np.float32))[None].to(self.device)
        [guesses] = self.model.generate(vector, count, self.limit)
        return decode_texts(guesses, self.embedder.tokenizer, self.embedder)

    def read(self, target: np.ndarray) -> Reading:
        """What the model makes of a target, float32 [dim]; the last one is kept."""
        key = target.tobytes()
        if self._last is None or self._last[0] != key:
            vector = torch.from_numpy(target.astype(np.float32)).to(self.device)
            self._last = key, Reading(self.model, vector)
        return self._last[1]
