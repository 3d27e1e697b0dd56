"""Splices: a span of one member put in the place of a span of another, chosen by their states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nanov2t.models.editor import Editor
from nanov2t.models.guesser import Guesser
from nanov2t.models.reading import Reading
from nanov2t.search.base import Proposer
from nanov2t.search.population import FLUENCY, Member, parents
from nanov2t.search.state import SearchState

LONGEST = 8
"""Tokens of a span."""
DONORS = 32
"""Members whose spans are taken."""
MARGIN = 12
"""Times as many splices as are wanted are looked at, since many of them make texts that are
known."""


class Places(NamedTuple):
    """Spans of a text from token i to j, the last left out, [spans] each."""

    member: Member
    first: Tensor
    last: Tensor


class Splices(Proposer):
    """A mean-pooled vector is a sum of states, and the states of a span hardly change where it
    stands in another text of the same meaning. So two sums of states say nearly what the vector
    of a splice would be, and one product says it of all splices of a population, of which only the
    best are embedded. How fluent a splice is, is said likewise by what a language model made of
    its two parts..

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

    def propose(self, states: Sequence[SearchState]) -> list[list[str]]:
        return [self._propose(state) for state in states]

    def exhausted(self, state: SearchState) -> bool:
        return False

    @torch.inference_mode()
    def _propose(self, state: SearchState) -> list[str]:
        hosts = [_places(member, 0) for member in parents(state, self.count)]
        donors = [_places(member, 1) for member in state.population[:DONORS] if member.ids]
        if not hosts or not donors:
            return []
        target = torch.from_numpy(state.target.vector.astype(np.float32)).to(hosts[0].first.device)
        rests = torch.cat([p.member.states.float().sum(0) - _sums(p) for p in hosts])
        sums = torch.cat([_sums(places) for places in donors])
        spans = [p.member.ids[i:j] for p in donors for i, j in _bounds(p)]
        worth = cosines_of_sums(rests, sums, target)
        if self.guesser is not None:
            worth += FLUENCY * _fluency(self.guesser.read(state.target.vector), hosts, donors)
        best = worth.flatten().topk(min(self.splices * MARGIN, worth.numel())).indices.tolist()
        bounds = [(p.member.ids, i, j) for p in hosts for i, j in _bounds(p)]
        rows: dict[tuple[int, ...], None] = {}
        for index in best:
            place, span = divmod(index, len(spans))
            ids, i, j = bounds[place]
            rows[(*ids[:i], *spans[span], *ids[j:])] = None
        texts = self.editor.decode([row for row in rows if row])
        return [text for text in texts if text not in state.cosines][: self.splices]


def cosines_of_sums(a: Tensor, b: Tensor, target: Tensor) -> Tensor:
    """Cosines of a target [hidden] and the sums of every row of a [n, hidden] and every row of b
    [m, hidden]: [n, m]."""
    dot = (a @ target)[:, None] + b @ target
    square = (a**2).sum(1)[:, None] + (b**2).sum(1) + 2 * a @ b.T
    return dot / square.sqrt()


def _places(member: Member, shortest: int) -> Places:
    """All spans of a member of at least `shortest` tokens."""
    n = len(member.ids)
    bounds = [(i, j) for i in range(n + 1) for j in range(i + shortest, min(n, i + LONGEST) + 1)]
    first, last = torch.tensor(bounds, device=member.states.device).T
    return Places(member, first, last)


def _bounds(places: Places) -> list[tuple[int, int]]:
    return list(zip(places.first.tolist(), places.last.tolist(), strict=True))


def _sums(places: Places) -> Tensor:
    """Sums of the states of spans, float32 [spans, hidden]."""
    words = places.member.states[1:-1].float().cumsum(0)
    running = torch.cat([torch.zeros_like(words[:1]), words])
    return running[places.last] - running[places.first]


def _fluency(reading: Reading, hosts: Sequence[Places], donors: Sequence[Places]) -> Tensor:
    """Log probabilities of splices, about, in nats, float32 [places of hosts, spans of donors]:
    what is read anew is only what stands behind the two seams."""
    end = reading.model.config.trunk.sep
    both = [places.member for places in (*hosts, *donors)]
    words = torch.tensor(sorted({end, *(word for member in both for word in member.ids)}))
    words = words.to(reading.words.device)
    texts = [(member.ids, member.fluency) for member in both if member.fluency is not None]
    after = reading.continuations(texts, words)
    left, begins, into, out_of, inside = [], [], [], [], []
    for places, odds in zip(hosts, after[: len(hosts)], strict=True):
        running = _running(places.member)
        kept = running[-1] - running[places.last + 1] + running[places.first]
        left.append(kept)  # of the host's tokens, without the span and the one behind it
        into.append(odds[places.first])  # [places, words]: what follows the beginning
        ids = torch.tensor([*places.member.ids, end], device=words.device)
        begins.append(torch.searchsorted(words, ids)[places.last])  # the one behind the span
    firsts = []
    for places, odds in zip(donors, after[len(hosts) :], strict=True):
        running = _running(places.member)
        inside.append(running[places.last] - running[places.first + 1])
        out_of.append(odds[places.last])  # [spans, words]: what follows the span
        ids = torch.tensor(places.member.ids, device=words.device)
        firsts.append(torch.searchsorted(words, ids)[places.first])
    seam = torch.cat(into)[:, torch.cat(firsts)]  # [places, spans]
    other = torch.cat(out_of)[:, torch.cat(begins)].T
    return torch.cat(left)[:, None] + torch.cat(inside) + seam + other


def _running(member: Member) -> Tensor:
    """Sums of the log probabilities of a member's first tokens, float32 [tokens + 2]."""
    assert member.fluency is not None
    chosen = member.fluency.chosen.cumsum(0)
    return torch.cat([torch.zeros_like(chosen[:1]), chosen])
