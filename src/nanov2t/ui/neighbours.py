"""What a defence costs those who search among the vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nanov2t.targets import Defence

SENTENCES = Path(__file__).with_name("sentences.txt").read_text(encoding="utf-8").splitlines()
"""No secrets: the neighbours that searches find."""
NEAREST = 10


def overlap(vectors: np.ndarray, defence: Defence) -> float:
    """The share of the ten nearest neighbours by cosine that stay the same when vectors, float32
    [n, dim], are defended, averaged over all of them; each is searched for among the others."""
    before, after = _nearest(vectors), _nearest(defence(vectors))
    shared = [len(set(a) & set(b)) for a, b in zip(before.tolist(), after.tolist(), strict=True)]
    return float(np.mean(shared)) / NEAREST


def _nearest(vectors: np.ndarray) -> np.ndarray:
    """The places of the ten nearest of each vector: int [n, 10]."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    similar = unit @ unit.T
    np.fill_diagonal(similar, -np.inf)
    return np.argsort(-similar, axis=1, kind="stable")[:, :NEAREST]
