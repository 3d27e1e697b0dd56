"""The options of a search. Free of torch, since the command line shows them."""

from __future__ import annotations

from dataclasses import dataclass

ROUNDS, EXHAUSTIVE_ROUNDS = 6, 50
"""Corrections at most, of the default and of the exhaustive search."""
BEAM = 8
"""Size of the sequence beam."""


@dataclass(frozen=True)
class SearchOptions:
    """How much is spent on a vector. What a search finds depends on nothing else but its target."""

    rounds: int | None = None
    """Corrections at most, after the first guess; None: the search's own default."""
    beam: int = BEAM
    """Hypotheses kept, and written from each."""
    batch: int | None = None
    """Vectors searched at a time, on which what is found does not depend; None: as many as keep the
    device busy."""
