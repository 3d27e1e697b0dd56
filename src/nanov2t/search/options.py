"""The options of a search. Free of torch, since the command line shows them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from nanov2t.core.errors import UserError

BEAM = 8
"""Size of the sequence beam."""
Effort = Literal["fast", "default", "thorough"]
"""How much is spent on a vector: by evolution about 300, 5,000 or 50,000 embeddings at most unless
a budget is given; by the beam search rounds."""
ROUNDS: dict[Effort, int] = {"fast": 2, "default": 6, "thorough": 20}
"""Corrections of the beam search at most."""
EXHAUSTIVE_ROUNDS = 50
"""Corrections of the exhaustive search."""


@dataclass(frozen=True)
class Budget:
    """The most that a search may spend on a vector: texts embedded, of which a few more may be
    needed, and seconds, which are checked after every round. Limits not above zero are a UserError.
    """

    embeddings: float = float("inf")
    seconds: float = float("inf")

    def __post_init__(self) -> None:
        if not (self.embeddings >= 1 and self.seconds > 0):
            raise UserError("budget: must be at least 1 embedding, or a time above zero")

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Read a number of embeddings (`5000`) or a duration (`30s`, `2m`); anything else, or zero,
        is a UserError."""
        match = re.fullmatch(r"(\d+|\d+(?:\.\d+)?(?=[sm]))([sm]?)", text)
        if not match or not float(match[1]):
            known = "a number of embeddings (5000) or a duration (30s, 2m)"
            raise UserError(f"budget {text!r}: expected {known}")
        amount = float(match[1])
        if not match[2]:
            return cls(embeddings=amount)
        return cls(seconds=amount * {"s": 1, "m": 60}[match[2]])


UNLIMITED = Budget()


@dataclass(frozen=True)
class SearchOptions:
    """How much is spent on a vector."""

    rounds: int | None = None
    """Corrections at most, after the first guess; None: the search's own default."""
    beam: int = BEAM
    """Hypotheses kept, and written from each."""
    batch: int | None = None
    """Vectors searched at a time, which does not change what is found; None: as many as keep the
    device busy."""
    budget: Budget = UNLIMITED
