"""Corrections: hypotheses rewritten in view of their own vectors."""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakKeyDictionary

from nanov2t.models.writer import HypothesisWriter
from nanov2t.search.base import Proposer
from nanov2t.search.state import EmbeddedHypothesis, SearchState

WIDTH = 2
"""Hypotheses rewritten in a round while writing finds the best ones; one otherwise."""


class Corrector(Proposer):
    """Rewrites the best hypotheses that it has not rewritten before."""

    name = "corrector"

    def __init__(self, writer: HypothesisWriter):
        self.writer = writer
        self._rewritten: WeakKeyDictionary[SearchState, set[str]] = WeakKeyDictionary()

    def propose(self, states: Sequence[SearchState]) -> list[list[str]]:
        chosen = []
        for state in states:
            rewritten = self._rewritten.setdefault(state, set())
            fresh = [h for h in state.pool if h.text not in rewritten][: self._width(state)]
            rewritten.update(hypothesis.text for hypothesis in fresh)
            chosen.append(fresh)
        return rewrite(self.writer, states, chosen)

    def exhausted(self, state: SearchState) -> bool:
        return all(h.text in self._rewritten.get(state, ()) for h in state.pool)

    def _width(self, state: SearchState) -> int:
        written = [
            text for name in ("hypothesizer", "corrector") for text in state.proposed.get(name, ())
        ]
        return WIDTH if state.pool and state.pool[0].text in written else 1


def rewrite(
    writer: HypothesisWriter,
    states: Sequence[SearchState],
    chosen: Sequence[Sequence[EmbeddedHypothesis]],
) -> list[list[str]]:
    """The `beam` best corrections of each hypothesis chosen of each state's pool."""
    work = [(i, hypothesis) for i, hypotheses in enumerate(chosen) for hypothesis in hypotheses]
    corrections = writer.correct(
        [states[i].target.vector for i, _ in work],
        [hypothesis.text for _, hypothesis in work],
        [hypothesis.vector for _, hypothesis in work],
        beams=states[0].options.beam,
    )
    texts: list[list[str]] = [[] for _ in states]
    for (i, _), written in zip(work, corrections, strict=True):
        texts[i] += written
    return texts
