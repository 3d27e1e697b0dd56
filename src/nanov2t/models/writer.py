"""What searches that rewrite hypotheses need."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch


class HypothesisWriter(Protocol):
    """Writes hypotheses for targets, float32 [dim] each."""

    device: torch.device
    batches: bool
    """Whether many targets may be written for at once. False where, to the last bit, one's texts
    could depend on the others."""

    def hypothesize(self, targets: Sequence[np.ndarray], beams: int) -> list[list[str]]:
        """The `beams` best first guesses for each target, best first."""

    def correct(
        self,
        targets: Sequence[np.ndarray],
        drafts: Sequence[str],
        vectors: Sequence[np.ndarray],
        beams: int,
    ) -> list[list[str]]:
        """The `beams` best corrections of each draft, best first, given its own vector too."""
