"""Words: one of the dictionary's put into a text, chosen by its average state."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nanov2t.models.editor import Editor
from nanov2t.models.reading import Hypothesizer
from nanov2t.search.population import PopulationProposer, fresh, offset_of, parents, target_on
from nanov2t.search.proposers.splices import cosines_of_sums
from nanov2t.search.state import Member, SearchState

NAT = 0.01
"""Cosine that a nat of evidence for a word is worth, while the target's place is rough."""
MARGIN = 16
"""Times as many texts as are wanted are looked for, since the best ones soon are known."""


class Words(PopulationProposer):
    """Every word of the dictionary in every place and every gap of a text, judged by the sum of
    states that it would make, and by how likely a language model finds it there. It knows nothing
    that an edit network could not learn, but forgets nothing either: what is left where a search
    stalls is often one word.

    Args:
        hypothesizer: says what is likely; without one, states alone decide.
        editor: knows the dictionary, and writes token ids.
        count: parents of a round.
        texts: of a round.
    """

    name = "words"

    def __init__(self, hypothesizer: Hypothesizer | None, editor: Editor, count: int, texts: int):
        self.hypothesizer, self.editor = hypothesizer, editor
        self.count, self.texts = count, texts
        self.states = editor.word_states
        self.words = torch.tensor(editor.frequent_words, device=self.states.device)
        self.added = self.states[self.words]

    @torch.inference_mode()
    def suggest(self, state: SearchState) -> list[str]:
        members = parents(state, self.count)
        if not members:
            return []
        worth = self._worth(state, members)  # [places, words]
        best = worth.flatten().topk(min(self.texts * MARGIN, worth.numel())).indices
        places = [
            (member.ids, i, i + replaced)
            for member in members
            for replaced in (1, 0)
            for i in range(len(member.ids) + 1 - replaced)
        ]
        rows: dict[tuple[int, ...], None] = {}
        chosen = self.words[best % len(self.words)].tolist()
        for place, word in zip((best // len(self.words)).tolist(), chosen, strict=True):
            ids, i, j = places[place]
            rows[(*ids[:i], word, *ids[j:])] = None
        return fresh(state, self.editor, list(rows), self.texts)

    def _worth(self, state: SearchState, members: Sequence[Member]) -> Tensor:
        """About the fitness of putting words in the place of each token of a member, then of
        inserting them before each and at the end: [2 tokens + 1 a member, words]."""
        target = target_on(state, self.states.device)
        rests = torch.cat([self._rests(member) for member in members])
        worth = cosines_of_sums(rests, self.added, target)
        if state.target.evidence is not None:
            evidence = torch.from_numpy(state.target.evidence)[self.words].to(worth.device)
            missing = [~torch.isin(self.words, self.words.new_tensor(m.ids)) for m in members]
            lengths = torch.tensor([2 * len(member.ids) + 1 for member in members])
            worth += NAT * (torch.stack(missing) * evidence).repeat_interleave(lengths, 0)
        if self.hypothesizer is None:
            return worth
        reading = self.hypothesizer.read(state.target.vector, state.target.evidence)
        read = [(member.ids, member.fluency) for member in members if member.fluency]
        assert len(read) == len(members)
        gains = []
        for odds, (_, fluency) in zip(reading.continuations(read, self.words), read, strict=True):
            odds += fluency.chosen.sum()
            gains += [odds[:-1] - fluency.chosen[:-1, None], odds]
        return worth.add_(torch.cat(gains), alpha=state.nat)

    def _rests(self, member: Member) -> Tensor:
        """Sums of states that lack only a word's average: those of a member without each token,
        then for each gap all of them and the text's offset, [2 tokens + 1, hidden]."""
        hidden = member.states.float()
        own = self.states[torch.tensor(member.ids, dtype=torch.long, device=hidden.device)]
        total = hidden.sum(0)
        gaps = (total + offset_of(member, self.states)).expand(len(member.ids) + 1, -1)
        return torch.cat([total - own, gaps])
