"""Searches that report their progress."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from nanov2t.core.progress import Tick
from nanov2t.search.options import SearchOptions

if TYPE_CHECKING:
    import numpy as np

    from nanov2t.inverter import Inverter
    from nanov2t.search.base import OnRound
    from nanov2t.search.state import Inversion, Round


def watched(
    inverter: Inverter,
    vectors: np.ndarray,
    options: SearchOptions,
    tick: Tick,
    drafts: Sequence[str] | None = None,
) -> Iterator[tuple[int, Inversion]]:
    """:meth:`Inverter.stream`, with a tick for every vector that is done."""
    on_round = estimate(inverter, options.rounds, tick)
    for found in inverter.stream(vectors, options.rounds, options.beam, drafts, on_round):
        tick()
        yield found


def estimate(inverter: Inverter, rounds: int | None, tick: Tick) -> OnRound:
    """After each round of a search, tell `tick` how long a vector takes at most: until its rounds
    or its budget are used up, whichever comes first."""
    most = inverter.default_rounds if rounds is None else rounds
    budget = inverter.budget

    def on_round(_: int, best: Round) -> None:
        used = (best.round + 1) / (most + 1)
        used = max(used, best.embedder_calls / budget.embeddings, best.seconds / budget.seconds)
        tick.expect(best.seconds / min(1.0, used))

    return on_round
