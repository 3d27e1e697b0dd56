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
KEPT = 8
"""Targets whose readings are kept: as many as searches that take turns."""


class Guesser:
    """A model in the number format and the layout that its device multiplies fastest."""

    def __init__(self, model: PrefixLM, embedder: Embedder):
        self.embedder, self.device = embedder, embedder.model.device
        self.limit = model.config.max_tokens + ROOM
        dtype = search_dtype(self.device)
        self.model = packed(copy.deepcopy(model).to(self.device, dtype))
        self._readings: dict[bytes, Reading] = {}

    def hypothesize(self, target: np.ndarray, count: int, longest: int | None = None) -> list[str]:
        """The `count` likeliest texts of a target, float32 [dim], best first, of at most `longest`
        tokens. One target at a time: no guess depends on what else is searched."""
        vector = torch.from_numpy(target.astype(np.float32))[None].to(self.device)
        [guesses] = self.model.generate(vector, count, min(longest or self.limit, self.limit))
        return decode_texts(guesses, self.embedder.tokenizer, self.embedder)

    def read(self, target: np.ndarray) -> Reading:
        """What the model makes of a target, float32 [dim]; those of the last KEPT are kept."""
        key = target.tobytes()
        reading = self._readings.pop(key, None)
        if reading is None:
            vector = torch.from_numpy(target.astype(np.float32)).to(self.device)
            reading = Reading(self.model, vector)
        self._readings[key] = reading
        if len(self._readings) > KEPT:
            del self._readings[next(iter(self._readings))]
        return reading
