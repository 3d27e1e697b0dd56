"""A prefix language model as searches use it: vectors in, texts out."""

from __future__ import annotations

import copy

import numpy as np
import torch

from nanov2t.embedders.base import Embedder
from nanov2t.embedders.text import decode_texts
from nanov2t.fast import packed, search_dtype
from nanov2t.models.prefix_lm import PrefixLM
from nanov2t.models.reading import Reading

ROOM = 4
"""Tokens by which a guess may exceed the texts that the model was trained on."""
KEPT = 8
"""Readings kept: as many as searches that take turns."""


class Guesser:
    """A packed copy of a model in its device's fastest number format."""

    def __init__(self, model: PrefixLM, embedder: Embedder):
        self.embedder, self.device = embedder, embedder.model.device
        self.limit = model.config.max_tokens + ROOM
        dtype = search_dtype(self.device)
        self.model = packed(copy.deepcopy(model).to(self.device, dtype))
        self._readings: dict[bytes, Reading] = {}

    def hypothesize(
        self,
        target: np.ndarray,
        count: int,
        longest: int | None = None,
        evidence: np.ndarray | None = None,
    ) -> list[str]:
        """The `count` likeliest texts of a target, float32 [dim], best first, of at most `longest`
        tokens. One target at a time, so that no guess depends on other targets."""
        vector = torch.from_numpy(target.astype(np.float32))[None].to(self.device)
        [guesses] = self.model.generate(
            vector, count, min(longest or self.limit, self.limit), self._nats(evidence)
        )
        return decode_texts(guesses, self.embedder.tokenizer, self.embedder)

    def _nats(self, evidence: np.ndarray | None) -> torch.Tensor | None:
        return None if evidence is None else torch.from_numpy(evidence).to(self.device)

    def read(self, target: np.ndarray, evidence: np.ndarray | None = None) -> Reading:
        """The reading of a target, float32 [dim], with the evidence for each word of the
        vocabulary, if any; the last KEPT are cached."""
        key = target.tobytes()
        reading = self._readings.pop(key, None)
        if reading is None:
            vector = torch.from_numpy(target.astype(np.float32)).to(self.device)
            reading = Reading(self.model, vector, self._nats(evidence))
        self._readings[key] = reading
        if len(self._readings) > KEPT:
            del self._readings[next(iter(self._readings))]
        return reading
