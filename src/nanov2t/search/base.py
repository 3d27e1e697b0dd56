"""The seams of a search: what a search is, and what a proposer is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from nanov2t.embedders.base import Embedder
from nanov2t.models.editor import Editor
from nanov2t.models.guesser import Guesser
from nanov2t.models.writer import HypothesisWriter
from nanov2t.search.options import UNLIMITED, Budget, Effort, SearchOptions
from nanov2t.search.state import Inversion, Round, SearchState
from nanov2t.targets import Target

OnRound = Callable[[int, Round], None]
"""Called with the index of a vector and its best hypothesis after each of its rounds."""


@dataclass(frozen=True)
class Parts:
    """What an inverter has for its search."""

    embedder: Embedder
    """The reader, which judges the hypotheses if the target does not name another judge."""
    hypothesizer: HypothesisWriter | None
    """Writes the first hypotheses; None if searches start from drafts."""
    corrector: HypothesisWriter | None
    """Rewrites hypotheses; None if there is only a first guess. The same object as `hypothesizer`
    where one network is both."""

    editor: Editor | None = None
    """Scores the edits of a hypothesis, where there is something that looks inside the embedder."""
    guesser: Guesser | None = None
    """Writes the first hypotheses in the embedder's own words."""
    effort: Effort = "default"
    aligned: bool = False
    """Whether another embedder than the reader judges."""

    @property
    def device_type(self) -> str:
        """`cpu` or `cuda`: where the networks run."""
        worker = self.editor or self.hypothesizer or self.corrector
        return "cpu" if worker is None else worker.device.type

    @property
    def batches(self) -> bool:
        """Whether the writers take many targets at once."""
        return all(w is None or w.batches for w in (self.hypothesizer, self.corrector))


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
