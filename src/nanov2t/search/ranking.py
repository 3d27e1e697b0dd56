"""How the texts that proposers suggest are judged by the embedder and kept."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import TypeVar

import numpy as np

from nanov2t.align.alignment import Seen
from nanov2t.core.vectors import cosine
from nanov2t.embedders.base import Embedder
from nanov2t.search.state import EmbeddedHypothesis, Hypothesis, SearchState

NEAREST = 400
"""Texts judged by another embedder that are kept to learn from."""
H = TypeVar("H", bound=Hypothesis)


class Ranking(ABC):
    """Embeds texts and keeps the best of them in the pools."""

    def __init__(self, embedder: Embedder):
        self.embedder = embedder

    @abstractmethod
    def rank(self, states: Sequence[SearchState], suggested: Sequence[Sequence[str]]) -> None:
        """Judge the texts that were suggested for each state, and renew its pool."""


class BestSoFar(Ranking):
    """The pool holds the best of all texts of the search: it never gets worse, and no text is
    embedded twice."""

    def rank(self, states: Sequence[SearchState], suggested: Sequence[Sequence[str]]) -> None:
        unseen = [
            list(dict.fromkeys(text for text in texts if text not in state.cosines))
            for state, texts in zip(states, suggested, strict=True)
        ]
        unique = list(dict.fromkeys(text for texts in unseen for text in texts))
        vectors = dict(zip(unique, self.embedder.encode(unique), strict=True))
        for state, texts in zip(states, unseen, strict=True):
            judged = judge(state, texts, [vectors[text] for text in texts])
            state.cosines.update((hypothesis.text, hypothesis.cosine) for hypothesis in judged)
            state.embedder_calls += len(texts)
            state.pool = best([*state.pool, *judged], state.options.beam)


def judge(
    state: SearchState, texts: Sequence[str], own: Sequence[np.ndarray] | np.ndarray
) -> list[EmbeddedHypothesis]:
    """Compare texts with the target; `own` are their vectors by the reader, float32 [n, dim]."""
    if not texts:
        return []
    target = state.target
    own = np.asarray(own)
    made = target.judge.embed(texts, own)
    cosines = cosine(target.judge.defend(made), target.held[None])
    alignment, goal = target.judge.alignment, target.undefended
    if alignment is not None and goal is not None:
        whitened = alignment.whitened(made)
        seen = Seen(whitened @ alignment.whitened(goal[None])[0], whitened, own)
        state.nearest = nearest(state.nearest or target.seen, seen)
    rows = zip(texts, cosines.tolist(), own, strict=True)
    return [EmbeddedHypothesis(*row) for row in rows]


def nearest(*judged: Seen | None) -> Seen:
    """The nearest of all that were judged, at most NEAREST of them."""
    cosines, vectors, own = (
        np.concatenate(columns) for columns in zip(*filter(None, judged), strict=True)
    )
    order = np.argsort(-cosines, kind="stable")[:NEAREST]
    return Seen(cosines[order], vectors[order], own[order])


def best(hypotheses: Iterable[H], count: int) -> list[H]:
    """The `count` best, best first; ties go by the alphabet, so that runs agree."""
    return sorted(hypotheses, key=lambda h: (-h.cosine, h.text))[:count]
