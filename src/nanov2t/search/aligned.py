"""The search for the vector of another embedder than the reader: every judgement may cost money, so
texts are sifted by forecasts; and what was judged shows where the target lies."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from nanov2t.align.alignment import DOUBT
from nanov2t.core.vectors import unit
from nanov2t.embedders.base import Embedder
from nanov2t.models.editor import Editor, exchanged
from nanov2t.search.edits import disorder, exchanges
from nanov2t.search.loop import Proposer, best
from nanov2t.search.population import (
    Population,
    fittest_first,
    parents,
    read_states,
    stalled,
    unseen,
)
from nanov2t.search.state import SIFTED, EmbeddedHypothesis, Member, SearchState
from nanov2t.search.sums import cosines_of_sums, openings, target_on
from nanov2t.search.surface import Styled, Surface, bare, merged, parse

JUDGED = 128
"""Texts that are judged in a round, at most."""
LEARNING = 3
"""Rounds after which the target's place is learnt again."""
SETTLED = 0.8
"""Closeness from which single variants are tried while the words still change."""
MERGED, REWRITTEN, STYLES = 12, 16, 3
"""Changes that are made together at most, nearest texts that are written anew by what was learnt
since they were judged, and leading texts that are tried in every usual way to write."""
LIKELY, LACKING, FREQUENT = 80, 100, 250
"""Words that are tried in every place: those with the most evidence, those that sums of states call
for, and the most frequent ones."""
EDITED, ORDERED = 128, 384
"""Neighbours with one edit, and in another order, that the reader embeds for their forecasts. Sums
of states choose the edits and nearly always keep the right one; they know no order, so the orders
are those that move the fewest words."""
LOOKED, COUNT = 3, 32
"""Texts whose neighbours are looked at in a round, at most, and neighbours of each."""


class Trust(NamedTuple):
    """How forecasts are made."""

    doubt: float
    """Noise allowed for in what was judged: the more, the less new texts resemble it."""
    place: float
    """Weight of the cosine with where the target seems to lie, which errs in other ways."""


READ, SUMMED = Trust(DOUBT, 0.3), Trust(0.3, 1.0)
"""For texts that the reader has embedded, and for sums of states. With DOUBT, the right word for a
place has a median rank of 800 in the vocabulary by its sum; so it has one of 2."""


class AlignedPopulation(Population):
    """Judges only the texts with the best forecasts, written as the target seems to be, and learns
    from them where the target lies."""

    def rank(self, states: Sequence[SearchState], suggested: Sequence[Sequence[str]]) -> None:
        for state in states:
            alignment = state.target.judge.alignment
            if not state.pool and alignment is not None:
                seen = alignment.sees_case, alignment.sees_spacing, alignment.sees_accents
                state.surface = Surface(*seen) if any(seen) else None
        super().rank(states, suggested)
        for state in states:
            if len(state.history) % LEARNING == 0:
                self._learn(state)
                state.progress[-1] = state.population[0].fitness

    def _written(self, state: SearchState, texts: list[str]) -> dict[str, str]:
        surface = state.surface
        written = texts if surface is None else [surface.write(text) for text in texts]
        by_writing = dict(zip(written, texts, strict=True))
        state.plain.update(text for w, text in by_writing.items() if w in state.cosines)
        return {w: text for w, text in by_writing.items() if w not in state.cosines}

    def _choose(self, state: SearchState, texts: list[str], own: np.ndarray) -> list[int]:
        """Choose the plain texts with the best forecasts, and every styled text: the reader sees
        neither case nor blanks, so it cannot forecast what a style is worth."""
        styled = [i for i, text in enumerate(texts) if isinstance(text, Styled)]
        plain = np.array([i for i, text in enumerate(texts) if not isinstance(text, Styled)], int)
        count = min(-(-len(plain) // SIFTED), JUDGED)
        if count:
            plain = plain[np.argsort(-_forecast(state, own[plain], READ), kind="stable")[:count]]
        chosen = sorted([*styled, *plain.tolist()][: int(min(len(texts), state.room))])
        state.plain.update(texts[i] for i in chosen)
        return chosen

    def _fittest(self, state: SearchState, members: Sequence[Member]) -> list[Member]:
        """Without texts that differ from a nearer one in case and blanks alone."""
        found: dict[tuple[int, ...], Member] = {}
        for member in best(members, len(members)):
            found.setdefault(member.row, member)
        return super()._fittest(state, list(found.values()))

    def _note(self, state: SearchState, judged: Sequence[EmbeddedHypothesis]) -> None:
        super()._note(state, judged)
        state.exact.update(hypothesis.text for hypothesis in judged)

    def _learn(self, state: SearchState) -> None:
        """Find out anew where the target lies in the reader's space, and read all texts anew."""
        alignment, vector = state.target.judge.alignment, state.target.undefended
        assert alignment is not None and vector is not None and state.nearest is not None
        place = alignment.learn(vector, state.nearest)
        state.target = replace(state.target, vector=place)
        for name in ("population", "former", "elite"):
            members = [replace(member, fluency=None) for member in getattr(state, name)]
            setattr(state, name, sorted(self._read(state, members), key=fittest_first))


def _forecast(state: SearchState, own: np.ndarray, trust: Trust) -> np.ndarray:
    """About how near texts will be, float [n], by their vectors [n, dim] from the reader."""
    target, seen = state.target, state.nearest or state.target.seen
    alignment, vector = target.judge.alignment, target.undefended
    assert alignment is not None and vector is not None and seen is not None
    own = unit(own)
    near: np.ndarray = alignment.forecast(vector, seen, own, trust.doubt)
    near += trust.place * (own @ unit(target.vector))
    return near


class Variants(Proposer):
    """Writes the best text with other case, blanks and accents: first in the usual styles; once it
    is near or its words no longer change, with one word or one blank changed; then with all changes
    that helped; last, if none did, with one letter accented."""

    name = "variants"

    def __init__(self) -> None:
        self._styled: WeakKeyDictionary[SearchState, set[str]] = WeakKeyDictionary()
        self._tried: WeakKeyDictionary[SearchState, tuple[str, list[Styled]]] = WeakKeyDictionary()

    def exhausted(self, state: SearchState) -> bool:
        return True

    def suggest(self, state: SearchState) -> list[str]:
        surface = state.surface
        if surface is None or not state.pool:
            return []
        first = state.pool[0]
        last, variants = self._tried.get(state, ("", []))
        tested = last == first.text
        surface.learn(first.text, tested)
        styled = self._styled.setdefault(state, set())
        leading = [h.text for h in state.pool[:STYLES] if _plain(h.text) not in styled]
        styled.update(map(_plain, leading))
        texts = [style for text in leading for style in surface.styles(text)]
        nearest = sorted(state.population, key=lambda member: -member.cosine)[:REWRITTEN]
        texts += [Styled(surface.write(_plain(member.text))) for member in nearest]
        if stalled(state) or 1 - (1 - first.cosine) / state.target.judge.scale > SETTLED:
            before = state.cosines.get(last, 1.0)
            helped = [v for v in variants if state.cosines.get(v, -1.0) > before]
            helped.sort(key=lambda v: -state.cosines[v])
            texts += merged(last, helped[:MERGED])
            variants = list(surface.variants(first.text))
            if tested:
                variants += surface.accented(first.text)
            self._tried[state] = first.text, variants
            texts += variants
        return unseen(state, texts, len(texts))


def _plain(text: str) -> str:
    return bare(" ".join(parse(text)[0]))


class Neighbours(Proposer):
    """Looks all around the nearest text, and around other ones once a search stalls: promising
    words in every place and gap, the text without each of its words, and two spans exchanged. The
    best forecasts go first, some more in every round. They find that `at` should be `in`, and names
    that networks do not think of while they know the target's place only roughly."""

    name = "neighbours"

    def __init__(self, editor: Editor, reader: Embedder):
        self.editor, self.reader = editor, reader
        self._waiting: WeakKeyDictionary[SearchState, dict[tuple[int, ...], Iterator[str]]] = (
            WeakKeyDictionary()
        )

    @torch.inference_mode()
    def suggest(self, state: SearchState) -> list[str]:
        if state.nearest is None or not state.population:
            return []
        nearest = max(state.population, key=lambda member: member.cosine)
        members = [nearest, *parents(state, LOOKED)] if stalled(state) else [nearest]
        before = self._waiting.get(state, {})
        waiting = self._waiting[state] = {}
        texts: list[str] = []
        for member in list(dict.fromkeys(members))[:LOOKED]:
            around = before.get(member.ids) or iter(self._around(state, member, nearest is member))
            waiting[member.ids] = around
            texts += itertools.islice(around, COUNT)
        return texts

    def _around(self, state: SearchState, member: Member, reordered: bool) -> list[str]:
        """The texts around one, best forecast first; `reordered`: other orders are among them."""
        ids, states = member.ids, self.editor.word_states
        bounds, rests = openings(member, states)
        words = self._promising(state, rests)
        rows = [(*ids[:i], word, *ids[j:]) for i, j in bounds for word in words]
        sums = (rests[:, None] + states[words]).flatten(0, 1)
        if len(ids) > 1:
            rows += [(*ids[:i], *ids[i + 1 :]) for i in range(len(ids))]
            hidden = member.states.float()
            sums = torch.cat([sums, hidden.sum(0) - hidden[1:-1]])
        rows = [rows[i] for i in self._best(state, sums, EDITED)]
        if len(ids) > 1 and reordered:
            moves = exchanges(len(ids))
            order = np.argsort(disorder(*moves.T), kind="stable")[:ORDERED]
            rows += [exchanged(ids, *move) for move in moves[order].tolist()]
        texts = unseen(state, self.editor.decode(rows), len(rows))
        worth = _forecast(state, read_states(self.reader, texts)[0], READ)
        return [texts[i] for i in np.argsort(-worth, kind="stable")]

    def _promising(self, state: SearchState, rests: Tensor) -> list[int]:
        """Words that a text may lack: those with the most evidence, those of the whole vocabulary
        that would do most in their best place, and the most frequent ones."""
        states, evidence = self.editor.word_states, state.target.evidence
        assert evidence is not None
        likely = np.argsort(-evidence, kind="stable")[:LIKELY].tolist()
        place = cosines_of_sums(rests, states, target_on(state, states.device)).argmax(0)
        lacking = self._best(state, rests[place] + states, LACKING)
        return list(dict.fromkeys([*likely, *lacking, *self.editor.frequent_words[:FREQUENT]]))

    def _best(self, state: SearchState, sums: Tensor, count: int) -> list[int]:
        """The indices of the best forecasts of sums of states [n, hidden]."""
        worth = _forecast(state, self.reader.of_mean(sums).cpu().numpy(), SUMMED)
        best: list[int] = np.argsort(-worth, kind="stable")[:count].tolist()
        return best
