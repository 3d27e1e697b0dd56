"""Arithmetic of vectors."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from nanov2t.core.errors import UserError


def as_rows(vectors: Sequence[Any] | np.ndarray) -> np.ndarray:
    """Vectors as an array [n, dim]. Arrays pass unchanged; lists become float32, or a UserError."""
    if isinstance(vectors, np.ndarray):
        return vectors
    try:
        return np.asarray(vectors, np.float32)
    except (TypeError, ValueError):
        raise UserError("vectors: expected rows of numbers, all of one length") from None


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Row-wise cosine similarity of [n, dim] and [n, dim] (or [1, dim]): float64 [n], at most 1."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    lengths = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return np.asarray(np.minimum((a * b).sum(-1) / lengths, 1.0))


def unit(vectors: np.ndarray) -> np.ndarray:
    """Non-zero vectors [n, dim], scaled to length 1."""
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))


def bad_rows(vectors: np.ndarray) -> dict[int, str]:
    """The rows of vectors [n, dim] that cannot be inverted, in order, with the reason."""
    bad = np.flatnonzero(~np.isfinite(vectors).all(-1) | (vectors == 0).all(-1)).tolist()
    return {row: "not finite" if vectors[row].any() else "zero" for row in bad}
