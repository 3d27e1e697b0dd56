"""Properties of an embedder that only its vectors show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from nanov2t.core.errors import UserError

PROBES = (
    "The cat sat down, 42 times.",
    "the cat sat down, 42 times.",
    "the cat sat down , 42 times .",
    "the cät sat dówn , 42 times .",
)
"""Each differs from the one before: in case, then in blanks, then in accents."""


class Probed(NamedTuple):
    """As in :class:`~nanov2t.embedders.base.EmbedderInfo`."""

    dim: int
    normalized: bool
    lowercase: bool


def probe(name: str, embed: Callable[[Sequence[str]], np.ndarray]) -> Probed:
    """Embed :data:`PROBES`.

    Raises:
        UserError: the result is not a vector for each text, or a vector is zero or not finite.
    """
    vectors = np.asarray(embed(PROBES))
    if (
        vectors.ndim != 2
        or len(vectors) != len(PROBES)
        or not np.issubdtype(vectors.dtype, np.number)
    ):
        raise UserError(
            f"embedder {name}: gave {vectors.dtype} of shape {vectors.shape} for {len(PROBES)} "
            f"texts, not numbers of shape ({len(PROBES)}, dim)"
        )
    lengths = np.linalg.norm(vectors, axis=1)
    if not (np.isfinite(lengths) & (lengths > 0)).all():
        raise UserError(f"embedder {name}: gave a vector that is zero or not finite")
    same = np.abs(vectors[0] - vectors[1]).max() < 1e-6 * lengths[0]
    return Probed(vectors.shape[1], bool((np.abs(lengths - 1) < 1e-3).all()), bool(same))
