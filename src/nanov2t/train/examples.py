"""The crops of a step, with and without a draft, and their vectors."""

from __future__ import annotations

from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn import functional as F

from nanov2t.train.config import TrainConfig
from nanov2t.train.data import Batch, Corpus, Crops, Embed
from nanov2t.train.noise import Noise

KINDS = ("hypothesizer", "corrector", "drafts")
"""Vectors of a step that get noise of their own: those of the texts of both parts, and of the
drafts."""


class Examples:
    """The crops of a step, in one or two parts.

    Attributes:
        plain: crops of a step that come without a draft, over all processes: part `hypothesizer`.
        drafted: those that come with one: part `corrector`.
        sizes: the same by part, only those that are not 0.
    """

    def __init__(
        self,
        config: TrainConfig,
        corpus: Corpus,
        tokenizer: Any,
        embed: Embed,
        accelerator: Accelerator,
    ):
        self.embed, self.accelerator = embed, accelerator
        self.max_tokens = config.data.max_tokens
        self.drafted = round(config.optim.batch * config.drafts.share)
        self.plain = config.optim.batch - self.drafted
        both = {"hypothesizer": self.plain, "corrector": self.drafted}
        self.sizes = {part: size for part, size in both.items() if size}
        seeds = {"hypothesizer": config.seed, "corrector": config.seed + 1}
        self.crops = {
            part: Crops(
                corpus, config.data, tokenizer, part if config.data.held_out else "all", seeds[part]
            )
            for part in self.sizes
        }
        self.noise = Noise(config.data.noise, embed.embedder.normalized)
        self.seed = config.seed
        self.vectors = None
        if config.data.crop == "start":
            with accelerator.main_process_first():
                self.vectors = corpus.start_vectors(
                    embed.embedder, tokenizer, config.data.max_tokens
                )

    def per_epoch(self) -> float:
        """Steps in which every window of the text is visited once."""
        return max(len(self.crops[part]) / size for part, size in self.sizes.items())

    @property
    def mine(self) -> slice:
        """This process's share of the crops of a step."""
        return slice(self.accelerator.process_index, None, self.accelerator.num_processes)

    def batch(self, part: str, step: int, share: slice = slice(None)) -> Batch:
        """A share of a part of the crops of a step, on the device. The vectors are made in the
        embedder's own precision, so this must stay outside of autocast."""
        ids, mask, passages = self.crops[part].ids(step, self.sizes[part], share)
        ids, mask = ids.to(self.accelerator.device), mask.to(self.accelerator.device)
        if self.vectors is not None:
            vectors = torch.from_numpy(self.vectors[passages]).to(ids.device)
        else:
            vectors = self.embed(ids, mask)
        targets = self.with_noise(vectors, part, step, self.sizes[part], share)
        return Batch(ids, mask, targets, passages)

    def with_noise(self, vectors: Tensor, kind: str, step: int, size: int, share: slice) -> Tensor:
        """Vectors [n, dim], a share of the `size` ones of a kind in a step, with noise if there is
        to be any."""
        return self.noise(vectors, size, share, [self.seed, 2, step, KINDS.index(kind)])

    def tokens(self, step: int) -> int:
        """Label tokens of a step over all processes: those of its crops, and a closing one each."""
        return sum(
            int(self.crops[part].draw(step, size)[2].sum()) + size
            for part, size in self.sizes.items()
        )


def labels_of(ids: Tensor, mask: Tensor, eos: int) -> Tensor:
    """Texts with their closing token, -100 beyond it: long [n, t + 1] for ids and mask [n, t]."""
    labels = F.pad(ids.masked_fill(mask == 0, -100), (0, 1), value=-100)
    return labels.scatter(1, mask.sum(1, keepdim=True), eos)
