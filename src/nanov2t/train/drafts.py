"""Drafts of an edit network: as it reads them, and drawn by a prefix language model."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nanov2t.embedders.base import Embedder
from nanov2t.embedders.text import decode_texts
from nanov2t.fast import packed, search_dtype
from nanov2t.models.prefix_lm import PrefixLM
from nanov2t.models.trunk import Cache
from nanov2t.train.data import mean_state, padded

HOTTEST = 1.5
"""Highest temperature; 0 takes the likeliest word at every step."""
CHOICES = 16
"""Likeliest words of a step that are drawn from."""
LONGER = 3
"""Words by which a hypothesis may be longer than its text."""


class Drafts(NamedTuple):
    """n drafts of at most t tokens."""

    ids: Tensor
    """long [n, t], with special tokens, padded"""
    mask: Tensor
    """bool [n, t]"""
    states: Tensor
    """[n, t, hidden]"""
    vectors: Tensor
    """float32 [n, dim]"""

    def pick(self, rows: Tensor) -> Drafts:
        """Some of them, without the places that are then empty."""
        mask = self.mask[rows]
        t = int(mask.sum(1).max())
        return Drafts(self.ids[rows, :t], mask[:, :t], self.states[rows, :t], self.vectors[rows])

    def rows(self) -> list[list[int]]:
        """The ids of each, without special tokens."""
        lengths = self.mask.sum(1).tolist()
        return [row[1 : n - 1] for row, n in zip(self.ids.tolist(), lengths, strict=True)]


class DraftReader:
    """Reads drafts, cut to `longest` words. They pass through text, as in a search."""

    def __init__(self, embedder: Embedder, longest: int):
        self.embedder, self.longest = embedder, longest

    def __call__(self, rows: Sequence[Sequence[int]]) -> Drafts:
        embedder, pad = self.embedder, self.embedder.tokenizer.pad_token_id
        tokens = embedder.tokenize(decode_texts(rows, embedder.tokenizer, embedder))
        cut = [[row[0], *row[1:-1][: self.longest], row[-1]] for row in tokens]
        ids = padded(cut, pad).to(embedder.model.device)
        mask = ids != pad
        states = embedder.states_of_ids(ids, mask)
        return Drafts(ids, mask, states, embedder.of_mean(mean_state(states.float(), mask)))


class Hypotheses:
    """Draws texts with a packed copy of a model."""

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
            best, words = model.step(ids[:, -1], step, caches, guess).topk(CHOICES, -1)
            place = (best + noise[:, step]).argmax(-1, keepdim=True)
            word = words.gather(1, place)[:, 0]
            ended = ended | (word == trunk.sep) | (step >= lengths + LONGER)
            ids = torch.cat([ids, word.masked_fill(ended, trunk.pad)[:, None]], 1)
            guess = guess.scatter(1, word[:, None], 0.0)
            if ended.all():
                break
        return [[word for word in row if word != trunk.pad] for row in ids[:, 1:].tolist()]
