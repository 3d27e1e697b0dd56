"""What a search knows of a vector: its state while it runs, its inversion once it is over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np

from nanov2t.align.alignment import Seen
from nanov2t.search.options import SearchOptions
from nanov2t.search.surface import Styled, Surface
from nanov2t.targets import Target

if TYPE_CHECKING:
    from torch import Tensor

    from nanov2t.models.reading import Fluency

FLUENCY, SHORT = 4e-4, 16
"""Cosine that a nat of a text's log probability is worth, and the tokens up to which that holds.
Each word of a longer text moves its vector less, and must not cost more than it gains."""
SIFTED = 3
"""Texts that are forecast for each that another embedder judges."""
Stopped = Literal["exact", "converged", "rounds", "budget"]
"""Why a search ended: `exact` (cosine within rounding of 1), `converged` (nothing new to try),
`rounds` (all used) or `budget` (used up)."""


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A text, and the cosine of its vector and the target."""

    text: str
    cosine: float


@dataclass(frozen=True)
class Round:
    """The best hypothesis at the end of a round; round 0 is the first guess or the given draft."""

    round: int
    text: str
    cosine: float
    embedder_calls: int
    """So far, for this vector."""
    seconds: float
    """So far: its share of the time of its batches."""
    hypotheses: list[Hypothesis] = field(default_factory=list, repr=False)
    """The `beam` best, best first."""


OnRound = Callable[[int, Round], None]
"""Called with the index of a vector and its best hypothesis after each of its rounds."""


@dataclass(frozen=True)
class EmbeddedHypothesis(Hypothesis):
    """A hypothesis with its own vector, float32 [dim]."""

    vector: np.ndarray = field(repr=False, compare=False)


@dataclass(frozen=True, eq=False)
class Member(Hypothesis):
    """A hypothesis of a population."""

    row: tuple[int, ...]
    """Its token ids, special ones among them."""
    states: Tensor
    """[tokens, hidden], the embedder's last states of them."""
    fluency: Fluency | None = None
    """None until a language model has read it."""
    nat: float = FLUENCY
    """Cosine that a nat of its log probability is worth."""
    scale: float = 1.0
    """How much smaller a change of a word is by the judge's cosine than by the reader's."""

    @property
    def ids(self) -> tuple[int, ...]:
        """Its token ids without special ones."""
        return self.row[1:-1]

    @property
    def closeness(self) -> float:
        """Its cosine on the reader's scale."""
        return 1 - (1 - self.cosine) / self.scale

    @cached_property
    def fitness(self) -> float:
        """Closeness and log probability. Texts that are wrong in many places may have vectors that
        agree to .98, but they are seldom fluent; and longer texts are less probable."""
        if self.fluency is None:
            return self.closeness
        return self.closeness + self.nat * float(self.fluency.chosen.sum())


@dataclass(frozen=True)
class Inversion:
    """What the search found for one vector: the hypothesis whose vector lies nearest to the target,
    why the search stopped, the number of texts embedded, the best hypothesis of each round, and the
    best ones at the end, best first."""

    text: str
    cosine: float
    stopped: Stopped
    embedder_calls: int
    rounds: list[Round]
    hypotheses: list[Hypothesis] = field(default_factory=list)
    unseen: int = 0
    """Tokens of the text that the embedder reads as unknown: other ones would not be noticed."""


@dataclass(eq=False)
class SearchState:
    """What is known of one vector while its search runs. Proposers remember things by state."""

    index: int
    target: Target
    options: SearchOptions
    pool: list[EmbeddedHypothesis] = field(default_factory=list)
    """The best hypotheses so far, best first."""
    cosines: dict[str, float] = field(default_factory=dict)
    """The cosine of each text that was embedded."""
    plain: set[str] = field(default_factory=set)
    """Texts that were judged in another writing."""
    proposed: dict[str, list[str]] = field(default_factory=dict)
    """What each proposer, by its name, suggested in the last round."""
    history: list[Round] = field(default_factory=list)
    embedder_calls: int = 0
    seconds: float = 0.0
    nat: float = FLUENCY
    """Cosine that a nat of a text's log probability is worth."""
    exact: set[str] = field(default_factory=set)
    """The texts that were judged exactly; evolution judges the others roughly."""
    population: list[Member] = field(default_factory=list)
    """The fittest texts since evolution last restarted, fittest first."""
    former: list[Member] = field(default_factory=list)
    """The fittest of the population before that one, to be joined with it."""
    elite: list[Member] = field(default_factory=list)
    """The fittest member of each of the last populations that stalled."""
    progress: list[float] = field(default_factory=list)
    """The best fitness of the population after each of its rounds."""
    nearest: Seen | None = None
    """The texts nearest to the target, if another embedder than the reader judges."""
    surface: Surface | None = None
    """How that embedder's texts are written, if it sees case or blanks."""

    def judged(self, text: str) -> bool:
        """Whether a text was judged: a styled one as it is, any other one in any writing."""
        return text in self.cosines or (text in self.plain and not isinstance(text, Styled))

    @property
    def room(self) -> float:
        """Texts that the budget still lets it embed."""
        return max(0, self.options.budget.embeddings - self.embedder_calls)

    @property
    def wanted(self) -> float:
        """Texts that proposers may suggest: more than there is room for if they are sifted."""
        return self.room * (1 if self.nearest is None else SIFTED)

    def used_up(self) -> Stopped | None:
        """Which of its budget and its rounds is used up, if one is."""
        if not self.room or self.seconds >= self.options.budget.seconds:
            return "budget"
        assert self.options.rounds is not None
        return "rounds" if len(self.history) > self.options.rounds else None

    def close_round(self, seconds: float) -> Round:
        """Note the best hypotheses at the end of a round that took so many seconds."""
        self.seconds += seconds
        # Hypotheses that were there a round before share its memory.
        before = {h: h for h in self.history[-1].hypotheses} if self.history else {}
        found = [before.get(h, h) for h in map(_bare, self.pool[: self.options.beam])]
        number, best = len(self.history), found[0]
        closed = Round(number, best.text, best.cosine, self.embedder_calls, self.seconds, found)
        self.history.append(closed)
        return closed

    def inversion(self, stopped: Stopped) -> Inversion:
        """What the search found, now that it is over."""
        found = [_bare(h) for h in self.pool]
        best = found[0]
        return Inversion(best.text, best.cosine, stopped, self.embedder_calls, self.history, found)


def _bare(hypothesis: Hypothesis) -> Hypothesis:
    """The text, as a plain string, and its cosine alone."""
    return Hypothesis(str(hypothesis.text), hypothesis.cosine)
