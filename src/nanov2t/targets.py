"""Vectors to the targets of a search: the one place that every vector passes before it is inverted.

Here it is checked, defended where a defence is studied, and scaled to the length that its embedder
gives. Each vector is prepared by itself, so that it is searched for in the same way alone, in an
array, or as a row of a store of millions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from nanov2t.align.alignment import Alignment, Seen, checked
from nanov2t.core.errors import UserError
from nanov2t.core.vectors import bad_rows
from nanov2t.embedders.base import Embedder, EmbedderInfo

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
class Judge:
    """What texts are compared by: their vectors by the embedder that made the target.

    Attributes:
        embedder: that embedder; None if it is the reader, whose vectors a search has anyway.
        alignment: from its vectors to the reader's space; None likewise.
        knowledge: of a defence that the target has passed: texts pass it too.
        reader: the embedder whose vectors the networks read; None if it is the judge.
    """

    embedder: Embedder | None = None
    alignment: Alignment | None = None
    knowledge: Knowledge | None = None
    reader: Embedder | None = None

    @property
    def scale(self) -> float:
        """How much smaller a change of a word is by its cosine than by the reader's."""
        return 1.0 if self.alignment is None else self.alignment.scale

    def embed(self, texts: Sequence[str], own: np.ndarray) -> np.ndarray:
        """The vectors [n, dim] of texts, whose own vectors by the reader are [n, reader's dim].

        Raises:
            UserError: the embedder gives vectors that cannot be compared.
        """
        return own if self.embedder is None else checked(self.embedder, texts)

    def defend(self, vectors: np.ndarray) -> np.ndarray:
        """Vectors of texts as the target was made."""
        return vectors if self.knowledge is None else self.knowledge.defend(vectors)


OWN = Judge()
"""The reader judges its own vectors."""


@dataclass(frozen=True)
class Target:
    """A vector as the searches take it.

    Attributes:
        vector: float32 [reader's dim], where the text lies in the reader's space as far as is
            known. It has unit length if the reader's vectors do.
        held: float32 [dim], the vector that was given: what the vectors of texts are compared with.
        tolerance: 1 - cosine up to which a text counts as exact.
        draft: the text that the search starts from; None if it makes its own first guesses.
        judge: what texts are compared by.
        undefended: float32 [dim], the estimate of `held` before its defence; else the same.
        tokens: about how many of the reader's tokens the text has; None if nothing says so.
        seen: the texts nearest to it of those that its alignment knows; None without one.
        evidence: float32 [reader's vocabulary], nats by which each token is likelier; likewise.
    """

    vector: np.ndarray
    held: np.ndarray
    tolerance: float
    draft: str | None = None
    judge: Judge = OWN
    undefended: np.ndarray | None = None
    tokens: float | None = None
    seen: Seen | None = None
    evidence: np.ndarray | None = None


def check_vectors(vectors: np.ndarray, embedder: EmbedderInfo, first: int = 0) -> None:
    """Refuse vectors that cannot be inverted; `first` is the number of the first row in the error.

    Raises:
        UserError: the array is not [n, dim] of the embedder's dimension, or a row is not finite or
            zero: the error names the first such row.
    """
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
    """Make the targets of a search.

    Args:
        vectors: float [n, dim].
        embedder: of the embedder that made them.
        defence: applied to them first, as their owner would.
        drafts: the texts that their searches start from, if any.
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
    alignment, knowledge = judge.alignment, judge.knowledge
    tolerances = _tolerances(vectors)
    held = None
    if knowledge is not None:
        held = np.asarray(vectors, np.float32)
        vectors = knowledge.restore(held)
        check_vectors(vectors, embedder, first)
        tolerances[:] = TOLERANCE  # whatever the defence rounds, it rounds of both
    if embedder.normalized:
        lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
        vectors = np.where(np.abs(lengths - 1) > UNIT, vectors / lengths, vectors)
    vectors = vectors.astype(np.float32)
    if alignment is not None:
        tolerances = np.maximum(tolerances, 2 * alignment.noise)
    if tolerance is not None:
        tolerances[:] = tolerance
    rows = zip(
        vectors,
        vectors if held is None else held,
        tolerances.tolist(),
        drafts or [None] * len(vectors),
        strict=True,
    )
    targets = [
        Target(vector, given, limit, draft, judge, vector) for vector, given, limit, draft in rows
    ]
    return targets if alignment is None else [_aligned(target, alignment) for target in targets]


def _aligned(target: Target, alignment: Alignment) -> Target:
    """A target with what its alignment says of it."""
    reader, vector = target.judge.reader, target.undefended
    assert reader is not None and vector is not None
    seen = alignment.neighbours(vector, reader)
    return replace(
        target,
        vector=alignment.learn(vector, seen),
        tokens=float(alignment.tokens(vector[None])[0]),
        seen=seen,
        evidence=alignment.evidence(vector, len(reader.tokenizer)),
    )


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
