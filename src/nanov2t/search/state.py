"""What a search knows of a vector: its state while it runs, its inversion once it is over."""

from __future__ import annotations

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

FLUENCY = 4e-4
"""Cosine that a nat of a text's log probability is worth, where texts are SHORT."""
SHORT = 16
"""Tokens of a text up to which that holds. The longer a text, the less each of its words moves the
vector, and a word that belongs there must not cost more than it gains."""
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
    """The best hypothesis once a round was over; round 0 is the hypothesizer's, or the given
    draft."""

    round: int
    text: str
    cosine: float
    embedder_calls: int
    """Texts embedded for this vector so far."""
    seconds: float
    """Time spent on this vector so far: its share of that of its batches."""
    hypotheses: list[Hypothesis] = field(default_factory=list, repr=False)
    """The nearest of the pool, best first: `beam` of them."""


@dataclass(frozen=True)
class EmbeddedHypothesis(Hypothesis):
    """A hypothesis with its own vector, float32 [dim]."""

    vector: np.ndarray = field(repr=False, compare=False)


@dataclass(frozen=True, eq=False)
class Member(Hypothesis):
    """A hypothesis, and what is known of it besides its cosine."""

    row: tuple[int, ...]
    """Its token ids, special ones among them."""
    states: Tensor
    """[tokens, hidden], the embedder's last states of them."""
    fluency: Fluency | None = None
    """None until a language model has read it."""
    nat: float = FLUENCY
    """Cosine that a nat of its log probability is worth in its search."""
    scale: float = 1.0
    """Of the judge's cosine, against the reader's."""

    @property
    def ids(self) -> tuple[int, ...]:
        """Its token ids, special ones left out."""
        return self.row[1:-1]

    @property
    def closeness(self) -> float:
        """Its cosine on the reader's scale."""
        return 1 - (1 - self.cosine) / self.scale

    @cached_property
    def fitness(self) -> float:
        """Texts that are wrong in many places may have vectors that agree to .98, and then cosines
        say nothing of how much is wrong. They are seldom fluent; and the probability of a text
        keeps populations from growing ever longer texts."""
        if self.fluency is None:
            return self.closeness
        return self.closeness + self.nat * float(self.fluency.chosen.sum())


@dataclass(frozen=True)
class Inversion:
    """What the search found for one vector.

    Attributes:
        text: the hypothesis whose vector lies nearest to the target.
        cosine: of that vector and the target.
        stopped: why the search ended.
        embedder_calls: texts embedded for it.
        rounds: the best after each round.
        hypotheses: the best ones at the end, best first.
        unseen: tokens of `text` that the embedder reads as unknown. Texts that differ in these
            alone have the same vector.
    """

    text: str
    cosine: float
    stopped: Stopped
    embedder_calls: int
    rounds: list[Round]
    hypotheses: list[Hypothesis] = field(default_factory=list)
    unseen: int = 0


@dataclass(eq=False)
class SearchState:
    """What is known of one vector while its search runs. Two states are never equal, so that
    proposers may keep what they remember of each by the state itself.

    Attributes:
        index: the vector's place among the targets.
        options: with the limit of rounds filled in.
        pool: the best hypotheses so far, best first, at most `options.beam`.
        cosines: of every text that was embedded for it.
        plain: texts that were judged, but written in another way.
        proposed: what each proposer, by its name, suggested in the round before this one.
        history: the rounds that are over.
        embedder_calls: texts embedded.
        seconds: time spent on it.
        nat: cosine that a nat of a text's log probability is worth.
        exact: the texts that were judged exactly, where others were judged roughly.
        population: of an evolution, the fittest texts since it last started anew, fittest first.
        former: the fittest of the population before that one, to be joined with it.
        elite: the fittest member of each population that stalled, the last few of them.
        progress: the best fitness of the population after each round since then.
        nearest: the texts nearest to the target, if another embedder than the reader judges.
        surface: how that embedder's texts are written, if it sees case or blanks.
    """

    index: int
    target: Target
    options: SearchOptions
    pool: list[EmbeddedHypothesis] = field(default_factory=list)
    cosines: dict[str, float] = field(default_factory=dict)
    plain: set[str] = field(default_factory=set)
    proposed: dict[str, list[str]] = field(default_factory=dict)
    history: list[Round] = field(default_factory=list)
    embedder_calls: int = 0
    seconds: float = 0.0
    nat: float = FLUENCY
    exact: set[str] = field(default_factory=set)
    population: list[Member] = field(default_factory=list)
    former: list[Member] = field(default_factory=list)
    elite: list[Member] = field(default_factory=list)
    progress: list[float] = field(default_factory=list)
    nearest: Seen | None = None
    surface: Surface | None = None

    def weigh_fluency(self, tokens: int) -> None:
        """Say what a nat is worth, for a text that has about so many tokens."""
        self.nat = FLUENCY * min(1.0, SHORT / max(1, tokens))

    def judged(self, text: str) -> bool:
        """Whether a text was judged: a styled one as it is, any other one in whatever writing."""
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
        """Whether its budget or its rounds are used up, and which of them."""
        if not self.room or self.seconds >= self.options.budget.seconds:
            return "budget"
        assert self.options.rounds is not None
        return "rounds" if len(self.history) > self.options.rounds else None

    def close_round(self, seconds: float) -> Round:
        """Note the best hypotheses at the end of a round that took `seconds` of this search."""
        self.seconds += seconds
        # Most were there a round before: kept once, they take no memory for every round.
        before = {h: h for h in self.history[-1].hypotheses} if self.history else {}
        found = [before.get(h, h) for h in map(_plain, self.pool[: self.options.beam])]
        best, number = found[0], len(self.history)
        closed = Round(number, best.text, best.cosine, self.embedder_calls, self.seconds, found)
        self.history.append(closed)
        return closed

    def inversion(self, stopped: Stopped) -> Inversion:
        """What the search found, now that it is over."""
        found = [_plain(h) for h in self.pool]
        best = found[0]
        return Inversion(best.text, best.cosine, stopped, self.embedder_calls, self.history, found)


def _plain(hypothesis: Hypothesis) -> Hypothesis:
    """Without what is known of it besides its cosine. A text may know more than its letters while
    it is searched for; what is found does not."""
    return Hypothesis(str(hypothesis.text), hypothesis.cosine)
