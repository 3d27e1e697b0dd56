"""Noise on the vectors that a run learns from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


class Noise:
    """Gaussian noise; where an embedder's vectors have unit length, so have the noisy ones.

    Args:
        deviation: the standard deviation of every number's.
        normalized: whether vectors have unit length.
    """

    def __init__(self, deviation: float, normalized: bool):
        self.deviation, self.normalized = deviation, normalized

    def __call__(self, vectors: Tensor, size: int, share: slice, key: Sequence[int]) -> Tensor:
        """Vectors [n, dim] with noise, a process's share of the `size` ones of a step. The noise
        depends on the key alone, and not on the number of processes."""
        if not self.deviation:
            return vectors
        rng = np.random.default_rng(key)
        drawn = rng.standard_normal((size, vectors.shape[1]), np.float32)[share]
        noisy = vectors + self.deviation * torch.from_numpy(drawn).to(vectors)
        return F.normalize(noisy, dim=1) if self.normalized else noisy
