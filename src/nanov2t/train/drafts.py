"""Drafts for a corrector to learn from, written by a hypothesizer and by the corrector itself."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn import functional as F

from nanov2t.fast.numbers import search_dtype
from nanov2t.fast.packed import packed
from nanov2t.models.generator import Generator
from nanov2t.train.config import TrainConfig
from nanov2t.train.examples import Examples

ROWS = 4096
"""Drafts written at a time."""


class DraftPool:
    """The drafted examples of `steps` steps, made together and each trained on once.

    Args:
        hypothesizer: writes the first drafts; None: the model in training.

    Attributes:
        tensors: `ids`, `mask`, `vectors` of the texts, `draft_ids`, `draft_mask`, `draft_vectors`
            of their drafts: [steps, n, ...], n examples of this process a step; empty before the
            first refill.
    """

    def __init__(
        self,
        config: TrainConfig,
        examples: Examples,
        eos: int,
        hypothesizer: Generator | None,
        accelerator: Accelerator,
    ):
        self.hypothesizer = _writing(hypothesizer) if hypothesizer else None
        self.examples, self.embed = examples, examples.embed
        self.eos, self.accelerator = eos, accelerator
        self.rounds, self.width = config.drafts.rounds, config.data.max_tokens + 1
        self.steps = max(1, config.drafts.pool // max(1, examples.drafted))
        self.tensors: dict[str, Tensor] = {}

    def at(self, step: int, current: Callable[[], Generator]) -> dict[str, Tensor]:
        """The examples of a step, on the device; `current` gives the model in training."""
        if not self.tensors or step % self.steps == 0:
            corrector = _writing(current())
            self._refill(step, self.hypothesizer or corrector, corrector)
        device = self.accelerator.device
        return {key: value[step % self.steps].to(device) for key, value in self.tensors.items()}

    def _refill(self, step: int, hypothesizer: Generator, corrector: Generator) -> None:
        """Draft for the steps from `step` on."""
        drafted = [self._draft(s, hypothesizer, corrector) for s in range(step, step + self.steps)]
        self.tensors = {key: torch.stack([d[key] for d in drafted]).cpu() for key in drafted[0]}

    def _draft(self, step: int, hypothesizer: Generator, corrector: Generator) -> dict[str, Tensor]:
        """The examples of a step. They are corrected 0 to `rounds` - 1 times after their first
        drafts, equally many each: drafts of drafts teach the later rounds."""
        examples = self.examples
        batch = examples.batch("corrector", step, examples.mine)
        # In blocks, of which every process gets its share: the number of corrections depends on the
        # example alone, and all processes are as busy.
        place = torch.arange(examples.drafted, device=batch.ids.device)[examples.mine]
        corrections = place * self.rounds // examples.drafted  # [n]
        ids, mask, vectors = self._write(hypothesizer, batch.vectors)
        for done in range(1, self.rounds):
            again = (corrections >= done).nonzero()[:, 0]
            if not len(again):
                break
            ids[again], mask[again], vectors[again] = self._write(
                corrector, batch.vectors[again], vectors[again], ids[again], mask[again]
            )
        return {
            "ids": batch.ids,
            "mask": batch.mask,
            "vectors": batch.vectors,
            "draft_ids": ids,
            "draft_mask": mask,
            "draft_vectors": examples.with_noise(
                vectors, "drafts", step, examples.drafted, examples.mine
            ),
        }

    def _write(self, generator: Generator, *arguments: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Greedy texts: ids with their closing token and mask, long [n, max_tokens + 1], and
        vectors, float32 [n, dim], these in the embedder's own precision."""
        given = [x.to(generator.dtype) if x.is_floating_point() else x for x in arguments]
        rows = [
            generator.generate(*part, max_length=self.width + 1)[:, 1:]
            for part in zip(*(torch.split(x, ROWS) for x in given), strict=True)
        ]
        ids = torch.cat([F.pad(row, (0, self.width - row.shape[1])) for row in rows])
        closed = (ids == self.eos).cumsum(1)
        text = closed == 0
        vectors = self.embed(ids * text, text.long())
        mask = (text | ((closed == 1) & (ids == self.eos))).long()
        return ids * mask, mask, vectors


def _writing(generator: Generator) -> Generator:
    """A copy that writes as a search does, in the number format and the layout that its device
    multiplies fastest."""
    return packed(copy.deepcopy(generator).to(search_dtype(generator.device)))
