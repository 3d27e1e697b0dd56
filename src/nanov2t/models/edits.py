"""Edits of a draft."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np


class Kind(IntEnum):
    REPLACE = 0
    INSERT = 1
    DELETE = 2
    MOVE = 3


@dataclass(frozen=True)
class Edit:
    """One change of a draft's token ids."""

    kind: Kind
    place: int
    """Index of the token that is replaced, deleted or moved, or before which one is inserted."""
    word: int
    """Id of the new token; for a move, the index of the token before which the word goes."""


@dataclass(frozen=True)
class ScoredDraft:
    """A draft and its likeliest edits, best first."""

    ids: tuple[int, ...]
    edits: list[Edit]
    odds: np.ndarray
    """float32 [edits], log odds of each edit against no edit, in nats."""
    order: np.ndarray | None = None
    """float32 [tokens + 2, tokens + 2], log probability of each token, special ones included, to
    follow each other one; None if unknown."""


def apply(ids: Sequence[int], edits: Sequence[Edit]) -> list[int]:
    """The token ids with edits made that do not conflict."""
    replaced = {e.place: e.word for e in edits if e.kind == Kind.REPLACE}
    gone = {e.place for e in edits if e.kind in (Kind.DELETE, Kind.MOVE)}
    inserted = {e.place: e.word for e in edits if e.kind == Kind.INSERT}
    inserted |= {e.word: ids[e.place] for e in edits if e.kind == Kind.MOVE}
    result = []
    for i in range(len(ids) + 1):
        if i in inserted:
            result.append(inserted[i])
        if i < len(ids) and i not in gone:
            result.append(replaced.get(i, ids[i]))
    return result


def conflict(a: Edit, b: Edit) -> bool:
    """Whether two edits touch the same word or fill the same gap."""

    def touched(edit: Edit) -> set[tuple[str, int]]:
        if edit.kind == Kind.INSERT:
            return {("gap", edit.place)}
        if edit.kind == Kind.MOVE:
            return {("word", edit.place), ("gap", edit.word)}
        return {("word", edit.place)}

    return bool(touched(a) & touched(b))


def exchanged(ids: tuple[int, ...], i: int, j: int, k: int, m: int) -> tuple[int, ...]:
    """The tokens with the spans i to j and k to m exchanged; i <= j <= k <= m."""
    return (*ids[:i], *ids[k:m], *ids[j:k], *ids[i:j], *ids[m:])
