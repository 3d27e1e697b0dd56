"""Vectors to the targets of a search. Every vector passes here before it is inverted: it is
checked, defended if a defence is studied, and scaled as its embedder scales. Each is prepared by
itself, so that it is searched for in the same way alone or as a row of a store of millions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nanov2t.align.alignment import Alignment, Seen, checked
from nanov2t.core.errors import UserError
from nanov2t.core.vectors import bad_rows
from nanov2t.embedders.base import Embedder, EmbedderInfo

TOLERANCE = 1e-5
"""1 - cosine below which a text counts as exact. float16 rounding moves a cosine by under 1e-6."""
UNIT = 1e-3
"""Difference from 1 up to which a length counts as 1."""

Defence = Callable[[np.ndarray], np.ndarray]
"""A change to vectors, float32 [n, dim] to float32 [n, dim], that leaks less text. A row must not
depend on the rows beside it."""


@dataclass(frozen=True)
class Knowledge:
    """What one who holds defended vectors knows of the defence."""

    defend: Defence
    restore: Defence
    """Defended vectors to estimates of the undefended ones."""


@dataclass(frozen=True)
class Judge:
    """What texts are compared by: their vectors by the embedder that made the target."""

    embedder: Embedder | None = None
    """That embedder; None if it is the reader, whose vectors a search has anyway."""
    alignment: Alignment | None = None
    """From its vectors to the reader's space; None likewise."""
    knowledge: Knowledge | None = None
    """What is known of the target's defence, which texts pass too; None without one."""
    reader: Embedder | None = None
    """The embedder whose vectors the networks read; None if it is the judge."""

    @property
    def scale(self) -> float:
        """How much smaller a change of a word is by its cosine than by the reader's."""
        return 1.0 if self.alignment is None else self.alignment.scale

    def embed(self, texts: Sequence[str], own: np.ndarray) -> np.ndarray:
        """The vectors [n, dim] of texts, whose vectors by the reader are `own`."""
        return own if self.embedder is None else checked(self.embedder, texts)

    def defend(self, vectors: np.ndarray) -> np.ndarray:
        """Vectors of texts as the target was made."""
        return vectors if self.knowledge is None else self.knowledge.defend(vectors)


OWN = Judge()
"""The reader judges its own vectors."""


@dataclass(frozen=True)
class Target:
    """A vector as the searches take it."""

    vector: np.ndarray
    """float32 [reader's dim], where the text lies in the reader's space as far as is known. It has
    unit length if the reader's vectors do."""
    held: np.ndarray
    """float32 [dim], the vector that was given: what the vectors of texts are compared with."""
    tolerance: float
    """1 - cosine up to which a text counts as exact."""
    draft: str | None = None
    """The text that the search starts from; None if it makes its own first guesses."""
    judge: Judge = OWN
    undefended: np.ndarray | None = None
    """float32 [dim], the estimate of `held` before its defence; else the same."""
    tokens: float | None = None
    """About how many of the reader's tokens the text has; None without an alignment."""
    seen: Seen | None = None
    """The texts nearest to it of those that its alignment knows; None likewise."""
    evidence: np.ndarray | None = None
    """float32 [reader's vocabulary], nats by which each token is likelier; None likewise."""


def check_vectors(vectors: np.ndarray, embedder: EmbedderInfo, first: int = 0) -> None:
    """Refuse vectors that are not [n, dim] of an embedder's dimension, or hold a row that is zero
    or not finite; the error names that row, counted from `first`."""
    if vectors.ndim != 2:
        raise UserError(f"vectors of shape {tuple(vectors.shape)}: expected [n, {embedder.dim}]")
    if vectors.shape[1] != embedder.dim:
        raise UserError(
            f"vectors have {vectors.shape[1]} numbers, {embedder.name} makes {embedder.dim}: name "
            "the model that made them with --embedder"
        )
    for row, reason in bad_rows(vectors).items():
        raise UserError(f"vector {first + row} is {reason}")


def prepare_targets(
    vectors: np.ndarray,
    embedder: EmbedderInfo,
    defence: Defence | None = None,
    drafts: Sequence[str | None] | None = None,
    first: int = 0,
    judge: Judge = OWN,
    tolerance: float | None = None,
) -> list[Target]:
    """Make the targets of a search for vectors, float [n, dim], of an embedder.

    Args:
        defence: applied to them first, as their owner would.
        first: the number of the first row in errors.
        judge: what texts are compared by; it knows of a defence that the vectors have passed.
        tolerance: 1 - cosine up to which a text counts as exact; by default that of rounding.

    Raises:
        UserError: as :func:`check_vectors`, also of what the defence or its restoring makes.
    """
    check_vectors(vectors, embedder, first)
    if defence is not None:
        vectors = defence(np.asarray(vectors, np.float32))
        check_vectors(vectors, embedder, first)
    limits, held = tolerances(vectors), None
    if judge.knowledge is not None:
        held = np.asarray(vectors, np.float32)
        vectors = judge.knowledge.restore(held)
        check_vectors(vectors, embedder, first)
        limits[:] = TOLERANCE  # whatever the defence rounds, it rounds of both
    if embedder.normalized:
        lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
        vectors = np.where(np.abs(lengths - 1) > UNIT, vectors / lengths, vectors)
    vectors = vectors.astype(np.float32)
    if judge.alignment is not None:
        limits = np.maximum(limits, 2 * judge.alignment.noise)
    if tolerance is not None:
        limits[:] = tolerance
    given, drafts = vectors if held is None else held, drafts or [None] * len(vectors)
    rows = zip(vectors, given, limits.tolist(), drafts, strict=True)
    return [
        replace(Target(vector, held, limit, draft, judge, vector), **_aligned(vector, judge))
        for vector, held, limit, draft in rows
    ]


def _aligned(vector: np.ndarray, judge: Judge) -> dict[str, Any]:
    """What an alignment says of a vector."""
    alignment, reader = judge.alignment, judge.reader
    if alignment is None or reader is None:
        return {}
    seen = alignment.neighbours(vector, reader)
    return {
        "vector": alignment.learn(vector, seen),
        "tokens": float(alignment.tokens(vector[None])[0]),
        "seen": seen,
        "evidence": alignment.evidence(vector, len(reader.tokenizer)),
    }


def describe_vectors(vectors: np.ndarray, embedder: EmbedderInfo) -> list[str]:
    """What a user should know of vectors, float [n, dim], such as the first ones of a store."""
    if not len(vectors):
        return []
    remarks, name = [], embedder.name
    unit = (np.abs(np.linalg.norm(vectors.astype(np.float64), axis=1) - 1) < 5 * UNIT).all()
    tolerance = float(tolerances(vectors).min())
    if rounded := tolerance > TOLERANCE:
        remarks.append(f"rounded to whole numbers (exact from a cosine of {1 - tolerance:.5f} on)")
    if (vectors >= 0).all():
        remarks.append(
            f"without a negative number: unless {name} makes such, an offset was added, as in "
            "uint8, and has to be taken off first"
        )
    if unit:
        remarks.append("of unit length")
    elif embedder.normalized:
        remarks.append(f"scaled to unit length, as {name} makes them")
    if not embedder.normalized and (unit or rounded):
        remarks.append(f"which {name} does not make: their length is lost, and with it some text")
    return remarks


def tolerances(vectors: np.ndarray) -> np.ndarray:
    """1 - cosine up to which a text counts as exact: float64 [n] for vectors [n, dim]."""
    vectors = vectors.astype(np.float64)
    # Rounding moves each number by up to 1/2, evenly spread, so its square by 1/12 on average, and
    # the cosine by half their sum over the squared length. That sum strays little from its average.
    loss = 1.5 * vectors.shape[1] / 24 / (vectors**2).sum(1)
    # Whole numbers so small that rounding would have cost more, such as signs, were not rounded.
    rounded = (vectors == vectors.round()).all(1) & (loss < 0.05)
    return np.where(rounded, np.maximum(loss, TOLERANCE), TOLERANCE)
