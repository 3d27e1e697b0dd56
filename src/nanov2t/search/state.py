"""What a search holds of a vector: its hypotheses while it runs, its inversion once it is over."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from nanov2t.search.proposers.edits import Edit


@dataclass(frozen=True)
class Round:
    """The best hypothesis once a round was over; round 0 is the hypothesizer's, or the given
    draft."""

    round: int
    text: str
    cosine: float
    embedder_calls: int
    """Texts embedded for this vector so far."""
    seconds: float
    """Time spent on this vector so far: its share of that of its batches."""


@dataclass(frozen=True)
class Inversion:
    """What the search found for one vector.

    Attributes:
        text: the hypothesis whose vector lies nearest to the target.
        cosine: of that vector and the target.
        stopped: `exact` (cosine within rounding of 1), `converged` (nothing new to try), or
            `rounds` (all used).
        embedder_calls: texts embedded for it.
        rounds: the best after each round.
    """

    text: str
    cosine: float
    stopped: Literal["exact", "converged", "rounds"]
    embedder_calls: int
    rounds: list[Round]


@dataclass
class Hypothesis:
    text: str
    cosine: float
    vector: np.ndarray
    expanded: bool = False
    edited: bool = False


@dataclass
class Search:
    index: int
    target: np.ndarray
    draft: str | None
    pool: list[Hypothesis] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    width: int = 1
    """Hypotheses to rewrite in the next round."""
    edits: dict[str, Edit] = field(default_factory=dict)
    """What single edits of one hypothesis, of token ids `base`, make in this round."""
    base: list[int] = field(default_factory=list)
    base_cosine: float = 1.0
    rounds: list[Round] = field(default_factory=list)
    calls: int = 0
    """Texts embedded."""
    seconds: float = 0.0

    def merge(self, found: list[Hypothesis], beam: int) -> None:
        self.pool = sorted(self.pool + found, key=lambda h: (-h.cosine, h.text))[:beam]

    def close_round(self, seconds: float) -> Round:
        self.seconds += seconds
        best = self.pool[0]
        self.rounds.append(
            Round(len(self.rounds), best.text, best.cosine, self.calls, self.seconds)
        )
        return self.rounds[-1]
