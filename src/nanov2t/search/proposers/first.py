"""First guesses of a prefix language model."""

from __future__ import annotations

from collections.abc import Sequence

from nanov2t.models.editor import Editor
from nanov2t.models.guesser import Guesser
from nanov2t.search.base import Proposer
from nanov2t.search.state import SearchState


class FirstGuesses(Proposer):
    """Opens each search: with the draft that it was given, else with guesses of a model; without a
    model, with the most frequent words.

    Args:
        guesser: writes the guesses.
        editor: knows the words.
        count: guesses for each target.
    """

    name = "hypothesizer"

    def __init__(self, guesser: Guesser | None, editor: Editor, count: int):
        self.guesser, self.editor, self.count = guesser, editor, count

    def propose(self, states: Sequence[SearchState]) -> list[list[str]]:
        return [[] if state.pool else self._open(state) for state in states]

    def exhausted(self, state: SearchState) -> bool:
        return bool(state.pool)

    def _open(self, state: SearchState) -> list[str]:
        if state.target.draft is not None:
            return [state.target.draft]
        if self.guesser is None:
            return self.editor.decode([[word] for word in self.editor.frequent_words[: self.count]])
        return self.guesser.hypothesize(state.target.vector, self.count)
