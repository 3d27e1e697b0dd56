"""Vectors to the targets of a search: the one place that every vector passes before it is inverted.

Here it is checked, defended where a defence is studied, and scaled to the length that its embedder
gives. Each vector is prepared by itself, so that it is searched for in the same way alone, in an
array, or as a row of a store of millions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from nanov2t.core.errors import UserError
from nanov2t.core.vectors import bad_rows, cosine
from nanov2t.embedders.base import EmbedderInfo

TOLERANCE = 1e-5
"""1 - cosine below which a text counts as exact. float32 and float16 rounding moves a cosine by
less than 1e-6."""
UNIT = 1e-3
"""Difference from 1 up to which a length counts as 1."""

Defence = Callable[[np.ndarray], np.ndarray]
"""What may be done to vectors, float32 [n, dim] to float32 [n, dim], so that less text leaks:
noise, quantisation, a rotation. A row must not depend on the rows beside it."""


@dataclass(frozen=True)
class Knowledge:
    """What one who holds defended vectors knows of the defence."""

    defend: Defence
    """Makes the very vectors that the owner's defence makes."""
    restore: Defence
    """Defended vectors to estimates of the undefended ones."""


@dataclass(frozen=True)
class Target:
    """A vector as the searches take it."""

    vector: np.ndarray
    """float32 [dim]; of unit length where the embedder's vectors are. Of a defended vector whose
    defence is known, the estimate of the undefended one."""
    tolerance: float
    """1 - cosine up to which a text counts as exact."""
    draft: str | None = None
    """The text that the search starts from; None: from the search's own first hypotheses."""
    held: np.ndarray | None = None
    """float32 [dim], the defended vector, where the defence is known."""
    defend: Defence | None = None
    """That defence: the vectors of texts pass it before they are compared."""

    def agreement(self, vectors: np.ndarray) -> np.ndarray:
        """The cosines, float64 [n], of the vectors of texts, float32 [n, dim], and what they are to
        agree with."""
        if self.defend is None or self.held is None:
            return cosine(vectors, self.vector[None])
        return cosine(self.defend(vectors), self.held[None])


def check_vectors(vectors: np.ndarray, embedder: EmbedderInfo, first: int = 0) -> None:
    """Refuse vectors that cannot be inverted; `first` is the number of the first row in the error.

    Raises:
        UserError: the array is not [n, dim] of the embedder's dimension, or a row is not finite or
            zero: the error names the first such row.
    """
    if vectors.ndim != 2 or vectors.shape[1] != embedder.dim:
        raise UserError(
            f"vectors of shape {tuple(vectors.shape)}, but {embedder.name} makes "
            f"[n, {embedder.dim}]"
        )
    for row, reason in bad_rows(vectors).items():
        raise UserError(f"vector {first + row} is {reason}")


def prepare_targets(
    vectors: np.ndarray,
    embedder: EmbedderInfo,
    defence: Defence | None = None,
    drafts: Sequence[str | None] | None = None,
    first: int = 0,
    knowledge: Knowledge | None = None,
) -> list[Target]:
    """Vectors, float [n, dim], to the targets of a search.

    Args:
        embedder: of the embedder that made them.
        defence: applied to them first, as their owner would.
        drafts: the texts that their searches start from, if any.
        first: the number of the first row in errors.
        knowledge: of the defence that the vectors have passed already; texts are then judged by
            their own defended vectors.

    Raises:
        UserError: as :func:`check_vectors`, also of what the defence or its restoring makes.
    """
    check_vectors(vectors, embedder, first)
    if defence is not None:
        vectors = defence(np.asarray(vectors, np.float32))
        check_vectors(vectors, embedder, first)
    tolerances = _tolerances(vectors)
    held: Sequence[np.ndarray | None] = [None] * len(vectors)
    if knowledge is not None:
        defended = np.asarray(vectors, np.float32)
        held, vectors = list(defended), knowledge.restore(defended)
        check_vectors(vectors, embedder, first)
        tolerances[:] = TOLERANCE  # whatever the defence rounds, it rounds of both
    if embedder.normalized:
        lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
        vectors = np.where(np.abs(lengths - 1) > UNIT, vectors / lengths, vectors)
    vectors = vectors.astype(np.float32)
    drafts = drafts or [None] * len(vectors)
    rows = zip(vectors, tolerances.tolist(), drafts, held, strict=True)
    return [Target(*row, None if knowledge is None else knowledge.defend) for row in rows]


def describe_vectors(vectors: np.ndarray, embedder: EmbedderInfo) -> list[str]:
    """What a user should know of vectors, float [n, dim], such as the first ones of a store."""
    if not len(vectors):
        return []
    remarks = []
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    unit = bool((np.abs(lengths - 1) < 5 * UNIT).all())
    tolerance = float(_tolerances(vectors).min())
    if rounded := tolerance > TOLERANCE:
        remarks.append(f"rounded to whole numbers (exact from a cosine of {1 - tolerance:.5f} on)")
    if (vectors >= 0).all():
        remarks.append(
            f"without a negative number: unless {embedder.name} makes such, an offset was added, "
            "as in uint8, and has to be taken off first"
        )
    if unit:
        remarks.append("of unit length")
    elif embedder.normalized:
        remarks.append(f"scaled to unit length, as {embedder.name} makes them")
    if not embedder.normalized and (unit or rounded):
        remarks.append(
            f"which {embedder.name} does not make: their length is lost, and with it some text"
        )
    return remarks


def _tolerances(vectors: np.ndarray) -> np.ndarray:
    """1 - cosine up to which a text counts as exact: float64 [n] for vectors [n, dim]."""
    vectors = vectors.astype(np.float64)
    # Rounding moves each number by up to 1/2, evenly spread, so its square by 1/12 on average, and
    # the cosine by half their sum over the squared length. Of hundreds of numbers that sum strays
    # from its average by far less than half.
    loss = 1.5 * vectors.shape[1] / 24 / (vectors**2).sum(1)
    # Whole numbers so small that rounding would have cost more, such as signs, were not rounded.
    rounded = (vectors == vectors.round()).all(1) & (loss < 0.05)
    return np.where(rounded, np.maximum(loss, TOLERANCE), TOLERANCE)
