"""The published search, kept to compare with: nothing remembered, nothing left out."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch

from nanov2t.config import BEAM
from nanov2t.inverter import TOLERANCE, Inverter
from nanov2t.metrics import cosine
from nanov2t.pool import Hypothesis, Inversion, Round, Search


class ExhaustiveInverter(Inverter):
    """Sequence-level beam search as nanoV2T runs it (after Morris et al. 2023, section 3.2).

    From a greedy first guess on, every round rewrites the `beam` best unique hypotheses of the round before into `beam`
    each and embeds them all, whether they were seen before or not. Only |cosine - 1| < tolerance ends a search early.
    The answer of a round is its own best, so it may get worse.
    """

    search, default_rounds = "exhaustive", 50

    @torch.inference_mode()
    def stream(
        self,
        vectors: Iterable[np.ndarray],
        rounds: int | None = None,
        beam: int = BEAM,
        drafts: Iterable[str] | None = None,
        on_round: Callable[[int, Round], None] | None = None,
        batch: int | None = None,
        tolerance: float = TOLERANCE,
    ) -> Iterator[tuple[int, Inversion]]:
        given = drafts if drafts is not None else itertools.repeat("" if self.hypothesizer is None else None)
        waiting = (Search(i, *item) for i, item in enumerate(zip(vectors, given, strict=False)))
        rounds = 0 if self.corrector is None else self.default_rounds if rounds is None else rounds
        while searches := list(itertools.islice(waiting, batch or self.batch)):
            for r in range(rounds + 1):
                began = time.perf_counter()
                if r == 0:
                    first = self._hypothesize([search for search in searches if search.draft is None], 1)
                    written = [next(first) if search.draft is None else [search.draft] for search in searches]
                else:
                    written = self._rewrite(searches, [search.pool for search in searches], beam)
                embedded = iter(self.embedder.encode([text for texts in written for text in texts]))
                for search, texts in zip(searches, written, strict=True):
                    found = np.stack(list(itertools.islice(embedded, len(texts))))
                    cosines = cosine(found, search.target[None]).tolist()
                    unique = {t: Hypothesis(t, c, v) for t, c, v in zip(texts, cosines, found, strict=True)}
                    search.pool = sorted(unique.values(), key=lambda h: (-h.cosine, h.text))[:beam]
                    search.calls += len(texts)
                share = (time.perf_counter() - began) / len(searches)
                still_open = []
                for search in searches:
                    closed = search.close_round(share)
                    if on_round:
                        on_round(search.index, closed)
                    exact = abs(closed.cosine - 1) < tolerance
                    if not exact and r < rounds:
                        still_open.append(search)
                        continue
                    yield search.index, Inversion(
                        closed.text, closed.cosine, "exact" if exact else "rounds", search.calls, search.rounds)
                searches = still_open
                if not searches:
                    break
