"""The seams of a search: what a search is, and what a proposer is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from nanov2t.embedders.base import Embedder
from nanov2t.models.editor import Editor
from nanov2t.models.reading import Hypothesizer
from nanov2t.search.options import UNLIMITED, Budget, Effort, SearchOptions
from nanov2t.search.state import Inversion, Round, SearchState
from nanov2t.targets import Target

OnRound = Callable[[int, Round], None]
"""Called with the index of a vector and its best hypothesis after each of its rounds."""


@dataclass(frozen=True)
class Engine:
    """What searches of an embedder's states work with.

    Attributes:
        reader: judges the texts, unless the target names another judge.
        editor: scores the edits of a text.
        hypothesizer: writes the first guesses; None if searches start from drafts.
        effort: how much is spent on a vector.
        aligned: whether another embedder than the reader judges.
    """

    reader: Embedder
    editor: Editor
    hypothesizer: Hypothesizer | None
    effort: Effort = "default"
    aligned: bool = False

    def hypothesize(self, targets: Sequence[np.ndarray]) -> list[str]:
        """The greedy first guess of each target, float32 [dim]; none without a hypothesizer."""
        if self.hypothesizer is None:
            return []
        return [self.hypothesizer.hypothesize(target, 1)[0] for target in targets]


class Search(ABC):
    """Turns targets into texts.

    Attributes:
        default_rounds, default_budget: limits where the options set none.
    """

    default_rounds: int
    default_budget: Budget = UNLIMITED

    @abstractmethod
    def stream(
        self,
        targets: Iterable[Target],
        options: SearchOptions,
        on_round: OnRound | None = None,
    ) -> Iterator[tuple[int, Inversion]]:
        """Search for targets as they come; yields the position of each and what was found for it
        as soon as its own search is over, so out of order."""


class Proposer(ABC):
    """Suggests texts whose vectors may lie nearer to the target than those found so far.

    Attributes:
        name: of its suggestions in :attr:`SearchState.proposed`.
    """

    name: str

    @abstractmethod
    def propose(self, states: Sequence[SearchState]) -> list[list[str]]:
        """New texts for each of the searches that are open, one list a state, empty where it has
        nothing to say. A state whose pool is empty is at its first guess."""

    @abstractmethod
    def exhausted(self, state: SearchState) -> bool:
        """Whether it has nothing more to propose while the pool stays as it is. A search converges
        when this holds of all its proposers."""
