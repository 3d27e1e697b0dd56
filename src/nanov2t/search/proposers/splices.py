"""Splices: a span of one member put in the place of a span of another, chosen by their states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from nanov2t.models.editor import Editor
from nanov2t.models.reading import Hypothesizer, Reading
from nanov2t.search.population import PopulationProposer, fresh, parents, target_on
from nanov2t.search.state import Member, SearchState

LONGEST = 8
"""Tokens of a span."""
LONGEST_TEXT = 64
"""Tokens of a text that is spliced. It bounds the memory: one host of that length and donors that
are as long have 9 million splices."""
DONORS = 32
"""Members whose spans are taken, beside the elite of former populations, each of which may have
found what the others lack."""
MARGIN = 12
"""Times as many splices as are wanted are looked at, since many of them make texts that are
known."""


class Spans(NamedTuple):
    """Spans of texts."""

    sums: Tensor
    """float32 [spans, hidden], of their states."""
    homes: Tensor
    """long [spans], the place of each one's text among the texts."""
    first: Tensor
    """long [spans], the first token of each in its text, and the one behind its last."""
    last: Tensor


class Splices(PopulationProposer):
    """A mean-pooled vector is a sum of states, and the states of a span hardly change where it
    stands in another text of the same meaning. So two sums of states say nearly what the vector
    of a splice would be, and one product says it of all splices of a text, of which only the
    best are embedded. How fluent a splice is, is said likewise by what a language model made of
    its two parts.

    Args:
        hypothesizer: says what is fluent; without one, vectors alone decide.
        editor: writes token ids.
        count: parents of a round.
        splices: texts of a round.
    """

    name = "splices"

    def __init__(self, hypothesizer: Hypothesizer | None, editor: Editor, count: int, splices: int):
        self.hypothesizer, self.editor = hypothesizer, editor
        self.count, self.splices = count, splices

    @torch.inference_mode()
    def suggest(self, state: SearchState) -> list[str]:
        hosts = _short(parents(state, self.count))
        donors = [member for member in _short(_donors(state)) if member.ids]
        if not hosts or not donors:
            return []
        listed = _distinct(donors)
        donated = [donors[home].ids[i:j] for home, i, j in listed]
        spans = _spans(donors, listed)
        target = target_on(state, spans.sums.device)
        seams = None
        if self.hypothesizer is not None:
            seams = Seams(
                self.hypothesizer.read(state.target.vector, state.target.evidence),
                [*donors, *hosts],
            )
        ranked: list[tuple[float, tuple[int, ...]]] = []
        for i, host in enumerate(hosts):
            places = _spans([host], [(0, *bounds) for bounds in _bounds(host, 0)])
            rests = host.states.float().sum(0) - places.sums
            worth = cosines_of_sums(rests, spans.sums, target)
            if seams is not None:
                worth += state.nat * seams.fluency(len(donors) + i, places, spans)
            best = worth.flatten().topk(min(self.splices * MARGIN, worth.numel()))
            first, last = places.first.tolist(), places.last.tolist()
            for value, index in zip(best.values.tolist(), best.indices.tolist(), strict=True):
                place, span = divmod(index, len(donated))
                row = (*host.ids[: first[place]], *donated[span], *host.ids[last[place] :])
                ranked.append((value, row))
        ranked.sort(key=lambda item: -item[0])
        rows = list(dict.fromkeys(row for _, row in ranked[: self.splices * MARGIN]))
        return fresh(state, self.editor, rows, self.splices)


class Seams:
    """Log probabilities of the words of some members after every beginning of every member."""

    def __init__(self, reading: Reading, members: Sequence[Member]):
        sep, device = reading.model.config.trunk.sep, reading.words.device
        read = [(member.ids, member.fluency) for member in members if member.fluency]
        assert len(read) == len(members)
        tokens = torch.tensor([word for ids, _ in read for word in (*ids, sep)], device=device)
        words, self.columns = tokens.unique(return_inverse=True)  # of all tokens and ends
        self.odds = torch.cat(reading.continuations(read, words))  # [tokens and ends, words]
        chosen = torch.cat([fluency.chosen for _, fluency in read])
        self.running = _running(chosen)  # of the tokens before each
        lengths = torch.tensor([0, *(len(ids) + 1 for ids, _ in read)], device=device)
        self.starts = lengths.cumsum(0)

    def fluency(self, host: int, places: Spans, spans: Spans) -> Tensor:
        """Log probabilities of splices of a host, about, in nats, float32
        [places, spans]: what is read anew is only what stands behind the two seams."""
        start = self.starts[host]
        first, last = start + places.first, start + places.last
        begins, ends = self.starts[spans.homes] + spans.first, self.starts[spans.homes] + spans.last
        after = self.odds[first][:, self.columns[begins]]  # [places, spans]
        behind = self.odds[ends][:, self.columns[last]].T
        whole = self.running[self.starts[host + 1]] - self.running[start]
        kept = whole - (self.running[last + 1] - self.running[first])
        inside = self.running[ends] - self.running[begins + 1]
        return after + behind + kept[:, None] + inside


def cosines_of_sums(a: Tensor, b: Tensor, target: Tensor) -> Tensor:
    """Cosines of a target [hidden] and the sums of every row of a [n, hidden] and every row of b
    [m, hidden]: [n, m]."""
    dot = (a @ target)[:, None] + b @ target
    square = (a**2).sum(1)[:, None] + (b**2).sum(1) + 2 * a @ b.T
    return dot / square.sqrt()


def _donors(state: SearchState) -> list[Member]:
    members = state.population[:DONORS]
    known = {member.text for member in members}
    return [*members, *(member for member in state.elite if member.text not in known)]


def _short(members: Sequence[Member]) -> list[Member]:
    return [member for member in members if len(member.ids) <= LONGEST_TEXT]


def _bounds(member: Member, shortest: int) -> list[tuple[int, int]]:
    """The first token of each span of at least `shortest` tokens, and the one behind its last."""
    n = len(member.ids)
    return [(i, j) for i in range(n + 1) for j in range(i + shortest, min(n, i + LONGEST) + 1)]


def _distinct(members: Sequence[Member]) -> list[tuple[int, int, int]]:
    """Members and the bounds of their spans, of spans that are alike only the first."""
    found: dict[tuple[int, ...], tuple[int, int, int]] = {}
    for home, member in enumerate(members):
        for i, j in _bounds(member, 1):
            found.setdefault(member.ids[i:j], (home, i, j))
    return list(found.values())


def _spans(members: Sequence[Member], listed: Sequence[tuple[int, int, int]]) -> Spans:
    device = members[0].states.device
    homes, first, last = torch.tensor(listed, device=device).T
    running = torch.cat([_running(member.states[1:-1].float()) for member in members])
    lengths = torch.tensor([0, *(len(member.ids) + 1 for member in members)], device=device)
    starts = lengths.cumsum(0)[homes]
    return Spans(running[starts + last] - running[starts + first], homes, first, last)


def _running(x: Tensor) -> Tensor:
    """Sums of the first rows of x, [n + 1, ...] of [n, ...]."""
    return torch.cat([torch.zeros_like(x[:1]), x]).cumsum(0)
