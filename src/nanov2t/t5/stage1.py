"""Stage 1: a hypothesizer, which writes a text, given its vector.

nanov2t train configs/gtr_nq32_stage1.yaml
"""

from __future__ import annotations

from torch import Tensor, nn

from nanov2t.t5.generator import Generator
from nanov2t.t5.task import T5Task


class Stage1(T5Task):
    """Vector to text."""

    def step(self, model: nn.Module, step: int, part: int) -> Tensor:
        return self.loss(model, step, self.batch(step, part))

    def measure(self, model: Generator) -> dict[str, float]:
        return self.figures(model, None, None)
