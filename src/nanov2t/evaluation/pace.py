"""Searches that say how far they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from nanov2t.core.progress import Tick
from nanov2t.inverter import Inverter
from nanov2t.search.base import OnRound
from nanov2t.search.state import Inversion, Round


def watched(
    inverter: Inverter,
    vectors: np.ndarray,
    rounds: int | None,
    beam: int,
    tick: Tick,
    drafts: Sequence[str] | None = None,
) -> Iterator[tuple[int, Inversion]]:
    """As :meth:`Inverter.stream`, and `tick` hears of every vector that is done."""
    on_round = estimate(inverter, rounds, tick)
    for found in inverter.stream(vectors, rounds, beam, drafts, on_round):
        tick()
        yield found


def estimate(inverter: Inverter, rounds: int | None, tick: Tick) -> OnRound:
    """Tells `tick`, after each round of a search, how long a vector takes at most: as if it used
    up its rounds or its budget, whichever ends first."""
    most = inverter.default_rounds if rounds is None else rounds
    budget = inverter.budget

    def on_round(_: int, best: Round) -> None:
        used = (best.round + 1) / (most + 1)
        used = max(used, best.embedder_calls / budget.embeddings, best.seconds / budget.seconds)
        tick.expect(best.seconds / min(1.0, used))

    return on_round
