"""Proposers that put something into a text, chosen by sums of states.

A mean-pooled vector is a sum of states up to its length, and the states of words hardly change in
another text of the same meaning. So sums of known states say nearly what the vectors of new texts
would be, and one product says it of thousands, of which only the best are embedded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from nanov2t.models.editor import Editor
from nanov2t.models.reading import Beginnings, Hypothesizer, Reading
from nanov2t.search.loop import Proposer
from nanov2t.search.population import fresh, parents
from nanov2t.search.state import Member, SearchState

SPARE_SPLICES, SPARE_WORDS, SPARE_PHRASES = 12, 16, 8
"""Texts looked for, for each that is wanted: the best are soon known."""
LONGEST = 64
"""Tokens of a text that is spliced or gets phrases: a host and donors of that length have 9 million
splices, which bounds the memory."""
LONGEST_SPAN, DONORS = 8, 32
"""Tokens of a span that is spliced, and members that give one, beside the elite."""
NAT = 0.01
"""Cosine that a nat of evidence for a word is worth, while the target's place is rough."""
WORDS, REPLACED = 3, 5
"""Words of a phrase, and tokens of the span that it replaces, at most."""
CHOICES, BEAMS = 48, 6
"""Likeliest words of a phrase's beginning that are looked at, and phrases of it that go on."""


def target_on(state: SearchState, device: torch.device) -> Tensor:
    """The target, float32 [dim], on a device."""
    return torch.tensor(state.target.vector, device=device)


def offset_of(member: Member, words: Tensor) -> Tensor:
    """What a text adds to its words' average states, float32 [vocabulary, hidden]: the mean over
    its tokens, [hidden]."""
    row = torch.tensor(member.row, device=words.device)
    return (member.states.float() - words[row]).mean(0)


def cosines_of_sums(a: Tensor, b: Tensor, target: Tensor) -> Tensor:
    """Cosines of a target [hidden] and the sums of every row of a [..., n, hidden] and every row
    of b [..., m, hidden]: [..., n, m]."""
    dot = (a @ target)[..., None] + (b @ target)[..., None, :]
    square = (a**2).sum(-1)[..., None] + (b**2).sum(-1)[..., None, :] + 2 * a @ b.mT
    return dot / square.sqrt()


def openings(member: Member, words: Tensor) -> tuple[list[tuple[int, int]], Tensor]:
    """The places for a word in a text: the bounds of each of its tokens, then of each gap; and
    the sums of states that then lack only the word's average, [2 tokens + 1, hidden]."""
    hidden, n = member.states.float(), len(member.ids)
    own = words[torch.tensor(member.ids, dtype=torch.long, device=hidden.device)]
    total = hidden.sum(0)
    gaps = (total + offset_of(member, words)).expand(n + 1, -1)
    bounds = [(i, i + width) for width in (1, 0) for i in range(n + 1 - width)]
    return bounds, torch.cat([total - own, gaps])


def best_cells(worth: Tensor, count: int) -> Iterator[tuple[float, int, int]]:
    """The values, rows and columns of the `count` largest numbers of a matrix, largest first."""
    best = worth.flatten().topk(min(count, worth.numel()))
    for value, index in zip(best.values.tolist(), best.indices.tolist(), strict=True):
        yield (value, *divmod(index, worth.shape[1]))


class Spans(NamedTuple):
    """Spans by the sums of their states, float32 [spans, hidden], and, long [spans], the places of
    their texts, their first tokens, and those behind their last."""

    sums: Tensor
    homes: Tensor
    first: Tensor
    last: Tensor


class Splices(Proposer):
    """Spans of other members in the place of spans of `count` hosts. How fluent a splice is follows
    from what the hypothesizer, if there is one, made of its two parts."""

    name = "splices"

    def __init__(self, hypothesizer: Hypothesizer | None, editor: Editor, count: int, splices: int):
        self.hypothesizer, self.editor = hypothesizer, editor
        self.count, self.splices = count, splices

    @torch.inference_mode()
    def suggest(self, state: SearchState) -> list[str]:
        hosts = [m for m in parents(state, self.count) if len(m.ids) <= LONGEST]
        known = {member.text for member in state.population[:DONORS]}
        elite = [member for member in state.elite if member.text not in known]
        donors = [m for m in [*state.population[:DONORS], *elite] if 0 < len(m.ids) <= LONGEST]
        if not hosts or not donors:
            return []
        listed = _distinct(donors)
        spans, seams = _spans(donors, listed), None
        target = target_on(state, spans.sums.device)
        if self.hypothesizer is not None:
            reading = self.hypothesizer.read(state.target.vector, state.target.evidence)
            seams = Seams(reading, [*donors, *hosts])
        ranked: list[tuple[float, tuple[int, ...]]] = []
        for i, host in enumerate(hosts):
            places = [(0, *bounds) for bounds in _bounds(host, 0)]
            taken = _spans([host], places)
            rests = host.states.float().sum(0) - taken.sums
            worth = cosines_of_sums(rests, spans.sums, target)
            if seams is not None:
                worth += state.nat * seams.fluency(len(donors) + i, taken, spans)
            for value, place, span in best_cells(worth, self.splices * SPARE_SPLICES):
                (_, first, last), (home, start, end) = places[place], listed[span]
                row = (*host.ids[:first], *donors[home].ids[start:end], *host.ids[last:])
                ranked.append((value, row))
        ranked.sort(key=lambda item: -item[0])
        rows = list(dict.fromkeys(row for _, row in ranked[: self.splices * SPARE_SPLICES]))
        return fresh(state, self.editor, rows, self.splices)


class Seams:
    """Log probabilities of all words of some members after every beginning of each."""

    def __init__(self, reading: Reading, members: Sequence[Member]):
        sep, device = reading.model.config.trunk.sep, reading.words.device
        read = [(member.ids, member.fluency) for member in members if member.fluency]
        tokens = torch.tensor([word for ids, _ in read for word in (*ids, sep)], device=device)
        words, self.columns = tokens.unique(return_inverse=True)  # of all tokens and ends
        self.odds = torch.cat(reading.continuations(read, words))  # [tokens and ends, words]
        chosen = torch.cat([fluency.chosen for _, fluency in read])
        self.running = _running(chosen)  # of the tokens before each
        lengths = torch.tensor([0, *(len(ids) + 1 for ids, _ in read)], device=device)
        self.starts = lengths.cumsum(0)

    def fluency(self, host: int, places: Spans, spans: Spans) -> Tensor:
        """About the log probabilities of splices of a host, float32 [places, spans]: only what
        stands behind the two seams is read anew."""
        start = self.starts[host]
        first, last = start + places.first, start + places.last
        begins, ends = self.starts[spans.homes] + spans.first, self.starts[spans.homes] + spans.last
        after = self.odds[first][:, self.columns[begins]]  # [places, spans]
        behind = self.odds[ends][:, self.columns[last]].T
        whole = self.running[self.starts[host + 1]] - self.running[start]
        kept = whole - (self.running[last + 1] - self.running[first])
        inside = self.running[ends] - self.running[begins + 1]
        return after + behind + kept[:, None] + inside


def _bounds(member: Member, shortest: int) -> list[tuple[int, int]]:
    """The first token of each span of at least `shortest` tokens, and the one behind its last."""
    n = len(member.ids)
    return [(i, j) for i in range(n + 1) for j in range(i + shortest, min(n, i + LONGEST_SPAN) + 1)]


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


class Words(Proposer):
    """Every word of the dictionary in every place and every gap of `count` parents, judged also by
    the hypothesizer, if there is one. A search that stalls often lacks one word."""

    name = "words"

    def __init__(self, hypothesizer: Hypothesizer | None, editor: Editor, count: int, texts: int):
        self.hypothesizer, self.editor = hypothesizer, editor
        self.count, self.texts = count, texts
        self.states, self.frequent = editor.word_states, editor.frequent_words
        self.words = torch.tensor(self.frequent, device=self.states.device)
        self.added = self.states[self.words]

    @torch.inference_mode()
    def suggest(self, state: SearchState) -> list[str]:
        members = parents(state, self.count)
        if not members:
            return []
        target = target_on(state, self.states.device)
        found = [openings(member, self.states) for member in members]
        places = [(m.ids, *b) for m, (bs, _) in zip(members, found, strict=True) for b in bs]
        worth = cosines_of_sums(torch.cat([rests for _, rests in found]), self.added, target)
        self._add_likelihood(state, members, worth)
        rows: dict[tuple[int, ...], None] = {}
        for _, place, word in best_cells(worth, self.texts * SPARE_WORDS):
            ids, i, j = places[place]
            rows[(*ids[:i], self.frequent[word], *ids[j:])] = None
        return fresh(state, self.editor, list(rows), self.texts)

    def _add_likelihood(self, state: SearchState, members: Sequence[Member], worth: Tensor) -> None:
        """Add what evidence and the hypothesizer make of the words to their worth in all the
        openings of the members, [openings, words]."""
        if state.target.evidence is not None:
            evidence = torch.from_numpy(state.target.evidence)[self.words].to(worth.device)
            missing = [~torch.isin(self.words, self.words.new_tensor(m.ids)) for m in members]
            lengths = torch.tensor([2 * len(member.ids) + 1 for member in members])
            worth += NAT * (torch.stack(missing) * evidence).repeat_interleave(lengths, 0)
        if self.hypothesizer is None:
            return
        reading = self.hypothesizer.read(state.target.vector, state.target.evidence)
        read = [(member.ids, member.fluency) for member in members if member.fluency]
        gains = []
        for odds, (_, fluency) in zip(reading.continuations(read, self.words), read, strict=True):
            odds += fluency.chosen.sum()
            gains += [odds[:-1] - fluency.chosen[:-1, None], odds]
        worth.add_(torch.cat(gains), alpha=state.nat)


class Phrases(Proposer):
    """A few words of the hypothesizer in the place of spans of `count` parents, by a beam search
    whose score is about the fitness of the whole text, with the words' average states in it. So a
    place that needs several other words at once gets them."""

    name = "phrases"

    def __init__(self, hypothesizer: Hypothesizer, editor: Editor, count: int, texts: int):
        self.hypothesizer, self.editor = hypothesizer, editor
        self.count, self.texts = count, texts

    def suggest(self, state: SearchState) -> list[str]:
        listed: list[tuple[float, tuple[int, ...]]] = []
        for member in parents(state, self.count):
            if 0 < len(member.ids) <= LONGEST:
                listed += self._fill(state, member)
        listed.sort(key=lambda item: -item[0])
        rows = list(dict.fromkeys(row for _, row in listed))
        return fresh(state, self.editor, rows, self.texts)

    @torch.inference_mode()
    def _fill(self, state: SearchState, member: Member) -> list[tuple[float, tuple[int, ...]]]:
        """Texts with a phrase in them, and what they may be worth."""
        assert member.fluency is not None
        reading, ids = (
            self.hypothesizer.read(state.target.vector, state.target.evidence),
            member.ids,
        )
        rows = Beginnings(reading, ids, member.fluency)
        gaps = Gaps(member, self.editor.word_states, target_on(state, self.editor.device))
        ends = torch.tensor([*ids, reading.model.config.trunk.sep], device=self.editor.device)
        ends = rows.table.places[ends[gaps.behind.clamp(max=len(ids))]]  # [beginnings, spans]
        left = state.nat * gaps.fluency
        found: list[tuple[float, tuple[int, ...]]] = []
        for _ in range(WORDS):
            begun = gaps.words[rows.written].sum(1) + rows.written.shape[1] * gaps.offset
            odds, words = rows.odds[:, 1:].topk(CHOICES, -1)
            words = words + 1  # the first closes the text
            worth = gaps.cosines(rows.lengths, begun, rows.table.words[words])
            worth = (worth + left[rows.lengths][:, None]).amax(-1)  # [rows, CHOICES]
            kept, chosen = _best(rows.lengths, worth + state.nat * (rows.total[:, None] + odds))
            rows.write(kept, words[kept, chosen])
            whole = gaps.cosines(rows.lengths, begun[kept], rows.written[:, -1:])[:, 0]
            seams = rows.odds.gather(1, ends[rows.lengths])  # [rows, spans]
            whole += left[rows.lengths] + state.nat * (rows.total[:, None] + seams)
            for value, row, span in best_cells(whole, SPARE_PHRASES * self.texts):
                first, phrase = int(rows.lengths[row]), rows.written[row].tolist()
                found.append((value, (*ids[:first], *phrase, *ids[first + span :])))
        return found


class Gaps:
    """What is left of a member without a span, by the span's first token and length, 0 to REPLACED:
    its `fluency`, float32 [beginnings, spans], is the log probability of all but the token `behind`
    the span; minus infinity where there is no such span."""

    def __init__(self, member: Member, words: Tensor, target: Tensor):
        assert member.fluency is not None
        hidden = member.states.float()
        self.words, self.target, device = words, target, hidden.device
        self.offset = offset_of(member, words)
        n = len(member.ids)
        first = torch.arange(n + 1, device=device)[:, None]
        self.behind = first + torch.arange(REPLACED + 1, device=device)
        inside = self.behind.clamp(max=n)
        running = hidden[:-1].cumsum(0)  # [n + 1, hidden], the opening token's state in each
        self.rests = hidden.sum(0) - (running[inside] - running[first])
        odds = member.fluency.chosen.cumsum(0)
        before = torch.cat([odds.new_zeros(1), odds])[first]
        fluency = before + odds[-1] - odds[inside]
        self.fluency = fluency.masked_fill(self.behind > n, -torch.inf)

    def cosines(self, lengths: Tensor, begun: Tensor, words: Tensor) -> Tensor:
        """Cosines of the target and the member with a span, that begins after `lengths` tokens,
        replaced by words whose states sum up to `begun` [rows, hidden], and each of some further
        words, long [rows, m]: [rows, m, spans]."""
        rests = self.rests[lengths] + begun[:, None] + self.offset  # [rows, spans, hidden]
        return cosines_of_sums(self.words[words], rests, self.target)


def _best(lengths: Tensor, worth: Tensor) -> tuple[Tensor, Tensor]:
    """The rows and the words of the BEAMS best of each beginning; worth is [rows, words]."""
    groups, width = len(lengths.unique()), worth.shape[1]
    by_group = worth.view(groups, -1)
    best = by_group.topk(min(BEAMS, by_group.shape[1]), -1).indices
    starts = torch.arange(groups, device=best.device)[:, None] * (len(lengths) // groups)
    return (starts + best // width).flatten(), (best % width).flatten()
