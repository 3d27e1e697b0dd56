"""First guesses, written from the vector alone."""

from __future__ import annotations

from collections.abc import Sequence

from nanov2t.models.writer import HypothesisWriter
from nanov2t.search.base import Proposer
from nanov2t.search.state import SearchState


class Hypothesizer(Proposer):
    """Opens each search: with the draft that it was given, else with guesses of its own.

    Args:
        writer: writes the guesses; None: a search without a draft starts from an empty text.
        guesses: for each place in the pool, by beam search; one greedy guess if it is 0, or if the
            pool has one place.
    """

    name = "hypothesizer"

    def __init__(self, writer: HypothesisWriter | None, guesses: int):
        self.writer, self.guesses = writer, guesses

    def propose(self, states: Sequence[SearchState]) -> list[list[str]]:
        proposed: list[list[str]] = [[] for _ in states]
        undrafted = []
        for i, state in enumerate(states):
            if state.pool:
                continue
            if state.target.draft is not None:
                proposed[i] = [state.target.draft]
            elif self.writer is None:
                proposed[i] = [""]
            else:
                undrafted.append(i)
        if self.writer is not None and undrafted:
            beam = states[0].options.beam
            beams = self.guesses * beam if self.guesses and beam > 1 else 1
            written = self.writer.hypothesize([states[i].target.vector for i in undrafted], beams)
            for i, texts in zip(undrafted, written, strict=True):
                proposed[i] = texts
        return proposed

    def exhausted(self, state: SearchState) -> bool:
        return bool(state.pool)
