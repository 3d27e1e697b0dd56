"""Arithmetic of vectors."""

from __future__ import annotations

import numpy as np


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Row-wise cosine similarity of [n, dim] and [n, dim] (or [1, dim]): float64 [n], at most 1."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return np.minimum(
        (a * b).sum(-1) / (np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)), 1.0
    )
