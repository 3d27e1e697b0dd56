"""How the texts that proposers suggest are judged by the embedder and kept."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import TypeVar

import numpy as np

from nanov2t.embedders.base import Embedder
from nanov2t.search.state import EmbeddedHypothesis, Hypothesis, SearchState

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
    state: SearchState, texts: Sequence[str], vectors: Sequence[np.ndarray]
) -> list[EmbeddedHypothesis]:
    """Texts and their vectors, float32 [dim] each, as hypotheses of a search."""
    if not texts:
        return []
    cosines = state.target.agreement(np.stack(vectors)).tolist()
    return [EmbeddedHypothesis(*item) for item in zip(texts, cosines, vectors, strict=True)]


def best(hypotheses: Iterable[H], count: int) -> list[H]:
    """The `count` best, best first; ties go by the alphabet, so that runs agree."""
    return sorted(hypotheses, key=lambda h: (-h.cosine, h.text))[:count]
