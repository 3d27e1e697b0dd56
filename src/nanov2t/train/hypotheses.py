"""Texts that a prefix language model draws, for an edit network to learn from."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor

from nanov2t.fast.numbers import search_dtype
from nanov2t.fast.packed import packed
from nanov2t.models.prefix_lm import PrefixLM
from nanov2t.models.trunk import Cache

HOTTEST = 1.5
"""Highest temperature; 0 takes the likeliest word at every step."""
CHOICES = 16
"""Likeliest words of a step that are drawn from."""
LONGER = 3
"""Words by which a hypothesis may be longer than its text."""


class Hypotheses:
    """A copy of a model in the number format and the layout that its device multiplies fastest."""

    def __init__(self, model: PrefixLM, device: torch.device):
        self.model = packed(copy.deepcopy(model).to(device, search_dtype(device)))

    @staticmethod
    def noise(steps: int, rng: np.random.Generator) -> Tensor:
        """What :meth:`draw` adds for one text, at a random temperature: float32 [steps,
        CHOICES]."""
        drawn = rng.gumbel(size=(steps, CHOICES)) * rng.uniform(0, HOTTEST)
        return torch.from_numpy(drawn.astype(np.float32))

    @torch.inference_mode()
    def draw(self, targets: Tensor, lengths: Tensor, noise: Tensor) -> list[list[int]]:
        """A hypothesis of each vector [n, dim], as ids without special tokens.

        Args:
            lengths: long [n], of the texts.
            noise: float32 [n, steps, CHOICES], added to the logits of the likeliest words; steps
                are LONGER more than the longest text has words.
        """
        model, trunk = self.model, self.model.config.trunk
        caches = [Cache() for _ in model.trunk.layers]
        model.trunk(model.embed_prefix(targets), None, caches)
        guess = model.guess(targets)
        ids = torch.full((len(targets), 1), trunk.cls, device=targets.device)
        ended = torch.zeros(len(targets), dtype=torch.bool, device=targets.device)
        for step in range(noise.shape[1]):
            x = model.trunk(model.trunk.embed(ids[:, -1:], step), None, caches)
            logits = model.logits(x)[:, 0].float() + guess
            if step == 0:
                logits[:, trunk.sep] = -torch.inf
            best, words = logits.topk(CHOICES, -1)
            place = (best + noise[:, step]).argmax(-1, keepdim=True)
            word = words.gather(1, place)[:, 0]
            ended = ended | (word == trunk.sep) | (step >= lengths + LONGER)
            ids = torch.cat([ids, word.masked_fill(ended, trunk.pad)[:, None]], 1)
            guess = guess.scatter(1, word[:, None], 0.0)
            if ended.all():
                break
        return [[word for word in row if word != trunk.pad] for row in ids[:, 1:].tolist()]
