"""Splices: a span of one member put in the place of a span of another, chosen by their states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from nanov2t.models.editor import Editor
from nanov2t.models.guesser import Guesser
from nanov2t.models.reading import Reading
from nanov2t.search.population import PopulationProposer, parents, target_on, unseen
from nanov2t.search.state import FLUENCY, Member, SearchState

LONGEST = 8
"""Tokens of a span."""
LONGEST_TEXT = 64
"""Tokens of a text that is spliced. It bounds the memory: one host of that length and donors that
are as long have 9 million splices."""
DONORS = 32
"""Members whose spans are taken."""
MARGIN = 12
"""Times as many splices as are wanted are looked at, since many of them make texts that are
known."""


class Spans(NamedTuple):
    """Spans of texts."""

    ids: list[tuple[int, ...]]
    sums: Tensor
    """float32 [spans, hidden], of their states."""
    texts: list[Member]
    bounds: list[tuple[Tensor, Tensor]]
    """Of each text, the first token of each of its spans, and the one behind its last."""


class Splices(PopulationProposer):
    """A mean-pooled vector is a sum of states, and the states of a span hardly change where it
    stands in another text of the same meaning. So two sums of states say nearly what the vector
    of a splice would be, and one product says it of all splices of a text, of which only the
    best are embedded. How fluent a splice is, is said likewise by what a language model made of
    its two parts.

    Args:
        guesser: says what is fluent; without one, vectors alone decide.
        editor: writes token ids.
        count: parents of a round.
        splices: texts of a round.
    """

    name = "splices"

    def __init__(self, guesser: Guesser | None, editor: Editor, count: int, splices: int):
        self.guesser, self.editor = guesser, editor
        self.count, self.splices = count, splices

    @torch.inference_mode()
    def suggest(self, state: SearchState) -> list[str]:
        hosts = _short(parents(state, self.count))
        donors = [member for member in _short(state.population[:DONORS]) if member.ids]
        if not hosts or not donors:
            return []
        spans = _spans(donors, 1)
        target = target_on(state, spans.sums.device)
        listed: list[tuple[float, tuple[int, ...]]] = []
        for host in hosts:
            places = _spans([host], 0)
            rests = host.states.float().sum(0) - places.sums
            worth = cosines_of_sums(rests, spans.sums, target)
            if self.guesser is not None:
                worth += FLUENCY * _fluency(self.guesser.read(state.target.vector), places, spans)
            [(first, last)] = places.bounds
            bounds = list(zip(first.tolist(), last.tolist(), strict=True))
            best = worth.flatten().topk(min(self.splices * MARGIN, worth.numel()))
            for value, index in zip(best.values.tolist(), best.indices.tolist(), strict=True):
                place, span = divmod(index, len(spans.ids))
                i, j = bounds[place]
                listed.append((value, (*host.ids[:i], *spans.ids[span], *host.ids[j:])))
        listed.sort(key=lambda item: -item[0])
        rows = dict.fromkeys(row for _, row in listed[: self.splices * MARGIN])
        return unseen(state, self.editor.decode(list(rows)), self.splices)


def cosines_of_sums(a: Tensor, b: Tensor, target: Tensor) -> Tensor:
    """Cosines of a target [hidden] and the sums of every row of a [n, hidden] and every row of b
    [m, hidden]: [n, m]."""
    dot = (a @ target)[:, None] + b @ target
    square = (a**2).sum(1)[:, None] + (b**2).sum(1) + 2 * a @ b.T
    return dot / square.sqrt()


def _short(members: Sequence[Member]) -> list[Member]:
    return [member for member in members if len(member.ids) <= LONGEST_TEXT]


def _spans(members: Sequence[Member], shortest: int) -> Spans:
    """All spans of members of at least `shortest` tokens."""
    ids, sums, bounds = [], [], []
    for member in members:
        n, device = len(member.ids), member.states.device
        pairs = [(i, j) for i in range(n + 1) for j in range(i + shortest, min(n, i + LONGEST) + 1)]
        first, last = torch.tensor(pairs, device=device).T
        running = _running(member.states[1:-1].float())
        ids += [member.ids[i:j] for i, j in pairs]
        sums.append(running[last] - running[first])
        bounds.append((first, last))
    return Spans(ids, torch.cat(sums), list(members), bounds)


def _running(x: Tensor) -> Tensor:
    """Sums of the first rows of x, [n + 1, ...] of [n, ...]."""
    return torch.cat([torch.zeros_like(x[:1]), x]).cumsum(0)


def _fluency(reading: Reading, places: Spans, spans: Spans) -> Tensor:
    """Log probabilities of splices, about, in nats, float32 [places, spans]: what is read anew is
    only what stands behind the two seams. The places are those of one host."""
    [host], [(first, last)] = places.texts, places.bounds
    ids = torch.tensor([*host.ids, reading.model.config.trunk.sep], device=first.device)
    behind = ids[last]  # the token behind the place
    begins = torch.tensor([span[0] for span in spans.ids], device=first.device)
    words, where = torch.cat([ids, begins]).unique(return_inverse=True)
    read = [(member.ids, member.fluency) for member in (host, *spans.texts) if member.fluency]
    after, *others = reading.continuations(read, words)
    assert host.fluency is not None
    running = _running(host.fluency.chosen)
    kept = running[-1] - running[last + 1] + running[first]  # without the place and what is behind
    worth = after[first][:, where[len(ids) :]] + kept[:, None]
    inside, out_of = [], []
    for member, (start, end), odds in zip(spans.texts, spans.bounds, others, strict=True):
        assert member.fluency is not None
        running = _running(member.fluency.chosen)
        inside.append(running[end] - running[start + 1])
        out_of.append(odds[end][:, torch.searchsorted(words, behind)])  # [spans, places]
    return worth + torch.cat(inside) + torch.cat(out_of).T
