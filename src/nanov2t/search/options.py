"""The options of a search. Free of torch, since the command line shows them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from nanov2t.core.errors import UserError

BEAM = 8
"""Size of the sequence beam."""
Effort = Literal["fast", "default", "thorough"]
"""How much to spend on a vector. Evolution embeds at most about 300, 5,000 or 50,000 texts unless
there is a budget; the beam search has more or fewer rounds."""
ROUNDS: dict[Effort, int] = {"fast": 2, "default": 6, "thorough": 20}
"""Most corrections of the beam search."""
EXHAUSTIVE_ROUNDS = 50
"""Most corrections of the exhaustive search."""


@dataclass(frozen=True)
class Budget:
    """The most that a search may spend on a vector: texts embedded, which a search may exceed by a
    few, and seconds, which it checks after every round. A limit below 1 text, or of no time, is a
    UserError."""

    embeddings: float = float("inf")
    seconds: float = float("inf")

    def __post_init__(self) -> None:
        if not (self.embeddings >= 1 and self.seconds > 0):
            raise UserError("budget: must be at least 1 embedding, or a time above zero")

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Read a number of embeddings (`5000`) or a duration (`30s`, `2m`). Raises a UserError for
        anything else, and for zero."""
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
    """How an inverter searches, and how much it spends on a vector."""

    rounds: int | None = None
    """Most corrections after the first guess. None: the search's own default."""
    beam: int = BEAM
    """How many hypotheses a beam search keeps, and writes from each."""
    batch: int | None = None
    """Vectors searched at a time; it does not change the results. None: enough to keep the device
    busy."""
    budget: Budget = UNLIMITED
    search: str = "default"
    """`default` is the best that the networks can do; see :mod:`nanov2t.search.evolution` and
    :mod:`nanov2t.t5.inference` for the others."""
    effort: Effort = "default"
    tolerance: float | None = None
    """1 - cosine up to which a text counts as exact. None: that of rounding and noise."""
