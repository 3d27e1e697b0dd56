"""The published search, kept to compare with: nothing remembered, nothing left out."""

from __future__ import annotations

import itertools
from typing import Literal

import numpy as np

from nanov2t.core.vectors import cosine
from nanov2t.inverter import Inverter
from nanov2t.search.state import Hypothesis, Search


class ExhaustiveInverter(Inverter):
    """Sequence-level beam search as nanoV2T runs it (after Morris et al. 2023, section 3.2).

    From a greedy first guess on, every round rewrites the `beam` best unique hypotheses of the
    round before into `beam` each and embeds them all, whether they were seen before or not. Only
    |cosine - 1| < tolerance ends a search early. The answer of a round is its own best, so it may
    get worse.
    """

    search, default_rounds = "exhaustive", 50

    def _advance(self, starting: list[Search], open_: list[Search], beam: int) -> None:
        written = self._hypothesize(starting, 1)
        if open_:
            written += self._rewrite(open_, [search.pool for search in open_], beam)
        embedded = iter(self.embedder.encode([text for texts in written for text in texts]))
        for search, texts in zip(starting + open_, written, strict=True):
            found = np.stack(list(itertools.islice(embedded, len(texts))))
            cosines = cosine(found, search.target[None]).tolist()
            unique = {t: Hypothesis(t, c, v) for t, c, v in zip(texts, cosines, found, strict=True)}
            search.pool = []
            search.merge(list(unique.values()), beam)
            search.calls += len(texts)

    def _stopped(
        self, search: Search, rounds: int, tolerance: float
    ) -> Literal["exact", "converged", "rounds"] | None:
        if abs(search.pool[0].cosine - 1) < tolerance:
            return "exact"
        if self.corrector is None:
            return "converged"
        return "rounds" if len(search.rounds) > rounds else None
