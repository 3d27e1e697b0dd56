"""Small edits of a hypothesis, proposed by the generator's own probabilities and left to the
embedder to judge.

A correction rewrites the whole text and costs a beam search; an edit changes a token and costs one
embedding. Edits are what a nearly right hypothesis needs, and what the hypotheses of a weak
generator gain most from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from nanov2t.models.generator import Generator
from nanov2t.models.writer import Writer
from nanov2t.search.base import Proposer
from nanov2t.search.state import EmbeddedHypothesis, SearchState

EDITS = 32
"""Edits tried of a hypothesis."""
ALTERNATIVES = 8
"""Tokens considered at each place."""
MISSING = 2.0
"""Weight of what the lexical head tells the target from the hypothesis by, against the generator's
own view."""


class Edit(NamedTuple):
    """Put `tokens` in the place of a hypothesis's tokens from `start` to `end`."""

    score: float
    """Log probability that it adds at the places it touches, the rest of the text as it is."""
    start: int
    end: int
    tokens: list[int]


@dataclass(frozen=True)
class Trial:
    """A hypothesis and the edits of it that are being tried."""

    ids: list[int]
    """Of the hypothesis, without its closing token."""
    cosine: float
    edits: dict[str, Edit]
    """By the texts that they make; those that were embedded before are left out."""


class Edits(Proposer):
    """The likeliest edits of the best hypothesis that it has not edited before."""

    name = "edits"

    def __init__(self, writer: Writer):
        self.writer = writer
        self._edited: WeakKeyDictionary[SearchState, set[str]] = WeakKeyDictionary()
        self.trials: WeakKeyDictionary[SearchState, Trial] = WeakKeyDictionary()
        """Not yet followed up."""

    def propose(self, states: Sequence[SearchState]) -> list[list[str]]:
        work = []
        for state in states:
            edited = self._edited.setdefault(state, set())
            fresh = next((h for h in state.pool if h.text not in edited), None)
            if fresh is not None:
                edited.add(fresh.text)
                work.append((state, fresh))
        rows = self.writer.logit_rows
        for start in range(0, len(work), rows):
            self._try(work[start : start + rows])
        return [list(self.trials[s].edits) if s in self.trials else [] for s in states]

    def exhausted(self, state: SearchState) -> bool:
        return all(h.text in self._edited.get(state, ()) for h in state.pool)

    @torch.inference_mode()
    def _try(self, work: list[tuple[SearchState, EmbeddedHypothesis]]) -> None:
        writer = self.writer
        texts = [hypothesis.text for _, hypothesis in work]
        ids, mask = writer.encode(texts)
        likeliest = likeliest_edits(
            writer.generator,
            writer.tensor([state.target.vector for state, _ in work]),
            writer.tensor([hypothesis.vector for _, hypothesis in work]),
            (ids, mask),
            writer.read(texts),
            EDITS,
        )
        lengths = (mask.sum(1) - 1).tolist()  # without the closing token
        rows = [row[:length] for row, length in zip(ids.tolist(), lengths, strict=True)]
        for (state, hypothesis), edits, row in zip(work, likeliest, rows, strict=True):
            made = writer.decode([apply(row, [edit]) for edit in edits])
            unseen = {
                text: edit
                for text, edit in dict(zip(made, edits, strict=True)).items()
                if text not in state.cosines
            }
            self.trials[state] = Trial(row, hypothesis.cosine, unseen)


class Combinations(Proposer):
    """The edits that helped, made together. Follows, in a later step of the round, the edits."""

    name = "combinations"

    def __init__(self, edits: Edits):
        self.edits = edits

    def propose(self, states: Sequence[SearchState]) -> list[list[str]]:
        return [self._combine(state) for state in states]

    def exhausted(self, state: SearchState) -> bool:
        return True  # it has something to say only after new edits

    def _combine(self, state: SearchState) -> list[str]:
        trial = self.edits.trials.pop(state, None)
        if trial is None:
            return []
        cosines = state.cosines  # without the texts for which the budget had no room
        helpful = sorted(
            (text for text in trial.edits if cosines.get(text, -1.0) > trial.cosine),
            key=lambda text: -cosines[text],
        )
        sets = combinations([trial.edits[text] for text in helpful])
        return self.edits.writer.decode([apply(trial.ids, edits) for edits in sets])


@dataclass(frozen=True)
class Places:
    """What a generator makes of the places of a hypothesis, the last of which is that of its
    closing token: the tokens there, and log probabilities."""

    ids: list[int]
    top: list[list[float]]
    """Of the likeliest tokens at each place."""
    top_ids: list[list[int]]
    own: list[float]
    """Of each place's own token."""
    following: list[float]
    """At each place, of the next place's token."""
    preceding: list[float]
    """At each place, of the token of the place before."""


def likeliest_edits(
    generator: Generator,
    targets: Tensor,
    vectors: Tensor,
    texts: tuple[Tensor, Tensor],
    read: tuple[Tensor, Tensor],
    count: int,
) -> list[list[Edit]]:
    """The `count` likeliest edits of each hypothesis, best first: a token substituted, inserted,
    deleted, or swapped with the next. Likeliest by the generator, once words that the lexical head
    finds in the target and not in the hypothesis have gained, wherever they stand.

    Args:
        targets: float32 [n, dim], the vectors to invert.
        vectors: float32 [n, dim], the hypotheses' own.
        texts: ids and mask, long [n, t], of the hypotheses with their closing tokens.
        read: the same as the generator reads drafts.
    """
    ids, mask = texts
    draft = (vectors, *read) if generator.config.corrects else ()
    logits = generator(targets, *draft, labels=ids.masked_fill(mask == 0, -100)).logits
    logits = logits.float()  # [n, t, vocabulary]
    if generator.lexical is not None:
        missing = generator.lexical.guess(targets) - generator.lexical.guess(vectors)
        logits += MISSING * generator.lexical.scale * missing[:, None]
    log_probs = logits.log_softmax(-1)
    top, top_ids = log_probs.topk(ALTERNATIVES, dim=-1)  # [n, t, ALTERNATIVES]

    def at_each_place(tokens: Tensor) -> Tensor:
        """Log probabilities of one token a place, long [n, t]: float32 [n, t]."""
        chosen: Tensor = log_probs.gather(2, tokens[:, :, None])
        return chosen[:, :, 0]

    own, following, preceding = (at_each_place(torch.roll(ids, shift, 1)) for shift in (0, -1, 1))
    found = []
    for i, length in enumerate(mask.sum(1).tolist()):
        values = (x[i, :length].tolist() for x in (ids, top, top_ids, own, following, preceding))
        edits = _edits(Places(*values), generator.config.max_tokens)
        found.append(sorted(edits, reverse=True)[:count])
    return found


def _edits(places: Places, max_tokens: int) -> list[Edit]:
    """Every edit worth considering of one hypothesis."""
    ids, own = places.ids, places.own
    closing = len(ids) - 1
    may_grow = len(ids) <= max_tokens
    found = []
    for i in range(len(ids)):
        for score, token in zip(places.top[i], places.top_ids[i], strict=True):
            if token in (ids[i], ids[closing]):
                continue
            if i < closing:
                found.append(Edit(score - own[i], i, i + 1, [token]))
            if may_grow:
                found.append(Edit(score + own[i], i, i, [token]))
        if i < closing:
            found.append(Edit(places.following[i] - own[i], i, i + 1, []))
        if i + 1 < closing:
            gain = places.following[i] + places.preceding[i + 1] - own[i] - own[i + 1]
            found.append(Edit(gain, i, i + 2, [ids[i + 1], ids[i]]))
    return found


def apply(ids: list[int], edits: list[Edit]) -> list[int]:
    """The token ids with edits made that do not overlap."""
    for edit in sorted(edits, key=lambda edit: -edit.start):
        ids = [*ids[: edit.start], *edit.tokens, *ids[edit.end :]]
    return ids


def combinations(improving: list[Edit]) -> list[list[Edit]]:
    """Sets of edits worth making together, given the improving ones, best first: the best two that
    do not touch each other, the best three, and so on."""
    chosen: list[Edit] = []
    sets = []
    for edit in improving:
        if all(edit.end < other.start or other.end < edit.start for other in chosen):
            chosen = [*chosen, edit]
            if len(chosen) > 1:
                sets.append(chosen)
    return sets
