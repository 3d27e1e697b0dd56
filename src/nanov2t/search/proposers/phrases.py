"""Phrases: a span of a member filled anew by a language model that knows what is missing."""

from __future__ import annotations

import torch
from torch import Tensor

from nanov2t.models.editor import Editor
from nanov2t.models.reading import Beginnings, Hypothesizer
from nanov2t.search.population import PopulationProposer, fresh, offset_of, parents, target_on
from nanov2t.search.state import Member, SearchState

WORDS = 3
"""Words of a phrase at most."""
LONGEST = 5
"""Tokens of the span that it replaces, at most."""
LONGEST_TEXT = 64
"""Tokens of a text that is filled anew."""
CHOICES = 48
"""Likeliest words of a beginning that are looked at."""
BEAMS = 6
"""Phrases of a beginning that go on."""
MARGIN = 8
"""Times as many texts as are wanted are looked for, since the best ones soon are known."""


class Phrases(PopulationProposer):
    """At every place of a member the model goes on with a few words, by a beam search whose score
    is what the fitness of the whole text would be: how likely the words are there, and how near to
    the target the sum of states would come with their average states in the place of those of a
    span that they replace. So a place that needs several other words at once gets them.

    Args:
        hypothesizer: writes.
        editor: knows the words' average states, and writes token ids.
        count: parents of a round.
        texts: of a round.
    """

    name = "phrases"

    def __init__(self, hypothesizer: Hypothesizer, editor: Editor, count: int, texts: int):
        self.hypothesizer, self.editor = hypothesizer, editor
        self.count, self.texts = count, texts

    def suggest(self, state: SearchState) -> list[str]:
        listed: list[tuple[float, tuple[int, ...]]] = []
        for member in parents(state, self.count):
            if 0 < len(member.ids) <= LONGEST_TEXT:
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
            begun = gaps.sums(rows.written)  # [rows, hidden]
            odds, words = rows.odds[:, 1:].topk(CHOICES, -1)
            words = words + 1  # the first closes the text
            worth = gaps.cosines(rows.lengths, begun, rows.table.words[words])
            worth = (worth + left[rows.lengths][:, None]).amax(-1)  # [rows, CHOICES]
            kept, chosen = _best(rows.lengths, worth + state.nat * (rows.total[:, None] + odds))
            rows.write(kept, words[kept, chosen])
            whole = gaps.cosines(rows.lengths, begun[kept], rows.written[:, -1:])[:, 0]
            seams = rows.odds.gather(1, ends[rows.lengths])  # [rows, spans]
            whole += left[rows.lengths] + state.nat * (rows.total[:, None] + seams)
            values, places = whole.flatten().topk(min(MARGIN * self.texts, whole.numel()))
            for value, place in zip(values.tolist(), places.tolist(), strict=True):
                row, span = divmod(place, whole.shape[1])
                first = int(rows.lengths[row])
                phrase = rows.written[row].tolist()
                found.append((value, (*ids[:first], *phrase, *ids[first + span :])))
        return found


class Gaps:
    """The spans of a member, by their first tokens and their lengths, 0 to LONGEST, and what is
    left of it without them.

    Attributes:
        behind: long [beginnings, spans], the place of the token behind each.
        fluency: float32 [beginnings, spans], log probability of what is left, but for the token
            behind the span; minus infinity where there is no such span.
    """

    def __init__(self, member: Member, words: Tensor, target: Tensor):
        assert member.fluency is not None
        hidden = member.states.float()
        self.words, self.target, device = words, target, hidden.device
        self.offset = offset_of(member, words)
        n = len(member.ids)
        first = torch.arange(n + 1, device=device)[:, None]
        self.behind = first + torch.arange(LONGEST + 1, device=device)
        inside = self.behind.clamp(max=n)
        running = hidden[:-1].cumsum(0)  # [n + 1, hidden], the opening token's state in each
        self.rests = hidden.sum(0) - (running[inside] - running[first])
        odds = member.fluency.chosen.cumsum(0)
        before = torch.cat([odds.new_zeros(1), odds])[first]
        fluency = before + odds[-1] - odds[inside]
        self.fluency = fluency.masked_fill(self.behind > n, -torch.inf)

    def sums(self, written: Tensor) -> Tensor:
        """About the sums of the states of words, long [rows, words]: [rows, hidden]."""
        return self.words[written].sum(1) + written.shape[1] * self.offset

    def cosines(self, lengths: Tensor, begun: Tensor, words: Tensor) -> Tensor:
        """Cosines of the target and the member with a span replaced by what was begun, whose
        states sum up to [rows, hidden], and a further word, long [rows, m]; rows begin after
        `lengths` tokens: [rows, m, spans]."""
        rests = self.rests[lengths] + begun[:, None] + self.offset  # [rows, spans, hidden]
        added = self.words[words]  # [rows, m, hidden]
        dot = (added @ self.target)[..., None] + (rests @ self.target)[:, None]
        square = (added**2).sum(-1)[..., None] + (rests**2).sum(-1)[:, None]
        square = square + 2 * added @ rests.transpose(1, 2)
        return dot / square.sqrt()


def _best(lengths: Tensor, worth: Tensor) -> tuple[Tensor, Tensor]:
    """The rows and the words of the BEAMS best of each beginning; worth is [rows, words]."""
    groups, width = len(lengths.unique()), worth.shape[1]
    by_group = worth.view(groups, -1)
    best = by_group.topk(min(BEAMS, by_group.shape[1]), -1).indices
    starts = torch.arange(groups, device=best.device)[:, None] * (len(lengths) // groups)
    return (starts + best // width).flatten(), (best % width).flatten()
