"""What the steps of a network's training are made of: how long texts, how many, and which steps go
on with the texts of the one before."""

from __future__ import annotations

import numpy as np

from nanov2t.train.network_config import TextConfig

BESIDE = 10
"""Tokens of a network's input beside the words of a text."""


class Schedule:
    """Fixed by the settings and the seed alone, for all steps of a run.

    Args:
        tokens: of a step.
        going_on: share of the steps that the next one goes on with.
        rounds: steps at most on the same texts.

    Attributes:
        length: int [steps], tokens of the longest text of a step.
        size: int [steps], texts of a step.
        round: int [steps], how many steps before had the same texts.
    """

    def __init__(
        self,
        data: TextConfig,
        tokens: int,
        steps: int,
        seed: int,
        going_on: float = 0.0,
        rounds: int = 1,
    ):
        rng = np.random.default_rng([seed, 0])
        drawn = np.where(
            rng.random(steps) < 0.5,
            rng.choice(data.lengths, steps),
            rng.integers(data.min_tokens, data.max_tokens + 1, steps),
        )
        goes_on = rng.random(steps) < going_on
        self.round = np.zeros(steps, int)
        for step in range(1, steps):
            if goes_on[step] and self.round[step - 1] + 1 < rounds:
                self.round[step] = self.round[step - 1] + 1
        self.length = drawn[np.arange(steps) - self.round]
        self.size = np.maximum(1, tokens // (self.length + BESIDE))
        self._before = np.concatenate([[0], np.cumsum(self.size)])
        self._texts_before = np.concatenate([[0], np.cumsum(self.size * (self.round == 0))])

    def examples(self, step: int) -> int:
        """How many are in the steps before `step`."""
        return int(self._before[step])

    def texts(self, step: int) -> int:
        """How many texts are begun with in the steps before `step`."""
        return int(self._texts_before[step])

    def goes_on(self, step: int) -> bool:
        """Whether the step after `step` has the same texts."""
        return step + 1 < len(self.round) and bool(self.round[step + 1])
