"""The search for the vector of another embedder than the reader: every judgement may cost money, so
texts are sifted by forecasts; and what was judged shows where the target lies."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from weakref import WeakKeyDictionary

import numpy as np
import torch

from nanov2t.embedders.base import Embedder
from nanov2t.models.editor import Editor, exchanged
from nanov2t.search.edits import disorder, exchanges
from nanov2t.search.loop import Proposer, best
from nanov2t.search.population import Population, fittest_first, stalled, unseen
from nanov2t.search.state import SIFTED, EmbeddedHypothesis, Member, SearchState
from nanov2t.search.sums import openings
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
FREQUENT, LIKELY = 250, 80
"""The most frequent words, and those with the most evidence, that are tried in every place."""
EDITED, ORDERED = 256, 384
"""Neighbours with one edit, and in another order, that the reader embeds for their forecasts. Sums
of states choose the edits and nearly always keep the right one; they know no order, so the orders
are those that move the fewest words."""
COUNT = 48
"""Neighbours of a round."""


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
            plain = plain[np.argsort(-_forecast(state, own[plain]), kind="stable")[:count]]
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


def _forecast(state: SearchState, own: np.ndarray) -> np.ndarray:
    """About how near texts will be, float [n], by their vectors [n, dim] from the reader."""
    alignment, vector = state.target.judge.alignment, state.target.undefended
    seen = state.nearest or state.target.seen
    assert alignment is not None and vector is not None and seen is not None
    return alignment.forecast(vector, seen, own)


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
    """Once a search stalls, looks all around its nearest text: the commonest and the likeliest
    words in every place and gap, the text without each of its words, and two spans exchanged. The
    best forecasts go first, some more in every round. They find that `at` should be `in`, which
    networks that know the target's place only roughly do not."""

    name = "neighbours"

    def __init__(self, editor: Editor, reader: Embedder):
        self.editor, self.reader = editor, reader
        self._waiting: WeakKeyDictionary[SearchState, tuple[tuple[int, ...], Iterator[str]]] = (
            WeakKeyDictionary()
        )

    @torch.inference_mode()
    def suggest(self, state: SearchState) -> list[str]:
        if not stalled(state) or state.nearest is None:
            return []
        nearest = max(state.population, key=lambda member: member.cosine)
        known, waiting = self._waiting.get(state, ((), iter(())))
        if nearest.ids != known:
            waiting = iter(self._neighbours(state, nearest))
            self._waiting[state] = nearest.ids, waiting
        return list(itertools.islice(waiting, COUNT))

    def _neighbours(self, state: SearchState, member: Member) -> list[str]:
        """The texts around one, best forecast first."""
        evidence, ids = state.target.evidence, member.ids
        assert evidence is not None
        likely = np.argsort(-evidence, kind="stable")[:LIKELY].tolist()
        words = list(dict.fromkeys([*likely, *self.editor.frequent_words[:FREQUENT]]))
        # The text with each word in every place and every gap, and without each of its own.
        bounds, rests = openings(member, self.editor.word_states)
        edited = [(*ids[:i], word, *ids[j:]) for i, j in bounds for word in words]
        sums = (rests[:, None] + self.editor.word_states[words]).flatten(0, 1)
        if len(ids) > 1:
            edited += [(*ids[:i], *ids[i + 1 :]) for i in range(len(ids))]
            hidden = member.states.float()
            sums = torch.cat([sums, hidden.sum(0) - hidden[1:-1]])
        rough = _forecast(state, self.reader.of_mean(sums).cpu().numpy())
        rows = [edited[i] for i in np.argsort(-rough, kind="stable")[:EDITED]]
        if len(ids) > 1:
            moves = exchanges(len(ids))
            order = np.argsort(disorder(*moves.T), kind="stable")[:ORDERED]
            rows += [exchanged(ids, *move) for move in moves[order].tolist()]
        texts = unseen(state, self.editor.decode(rows), len(rows))
        worth = _forecast(state, self.reader.encode(texts))
        return [texts[i] for i in np.argsort(-worth, kind="stable")]
