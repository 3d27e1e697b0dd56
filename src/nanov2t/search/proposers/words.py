"""Words: one of the dictionary's put into a text, chosen by its average state."""

from __future__ import annotations

import torch
from torch import Tensor

from nanov2t.models.editor import Editor
from nanov2t.models.guesser import Guesser
from nanov2t.search.population import PopulationProposer, parents, target_on, unseen
from nanov2t.search.proposers.splices import cosines_of_sums
from nanov2t.search.state import FLUENCY, Member, SearchState

MARGIN = 4
"""Times as many texts as are wanted are looked at, since some are known."""


class Words(PopulationProposer):
    """Every word of the dictionary in every place and every gap of a text, judged by the sum of
    states that it would make, and by how likely a language model finds it there. It knows nothing
    that an edit network could not learn, but forgets nothing either: what is left where a search
    stalls is often one word.

    Args:
        guesser: says what is likely; without one, states alone decide.
        editor: knows the dictionary, and writes token ids.
        count: parents of a round.
        texts: of a round.
    """

    name = "words"

    def __init__(self, guesser: Guesser | None, editor: Editor, count: int, texts: int):
        self.guesser, self.editor = guesser, editor
        self.count, self.texts = count, texts
        self.states = editor.word_states
        self.words = torch.tensor(editor.frequent_words, device=self.states.device)

    @torch.inference_mode()
    def suggest(self, state: SearchState) -> list[str]:
        members = parents(state, self.count)
        if not members or not self.texts:
            return []
        worth = torch.cat([self._worth(state, member) for member in members])  # [places, words]
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
        texts = self.editor.decode(list(rows))
        return unseen(state, texts, self.texts)

    def _worth(self, state: SearchState, member: Member) -> Tensor:
        """About the fitness, up to a constant of the member, of putting words in the place of each
        token, then of inserting them before each and at the end: [2 tokens + 1, words]."""
        hidden = member.states.float()
        row = torch.tensor(member.row, device=hidden.device)
        own = self.states[row]
        total, offset = hidden.sum(0), (hidden - own).mean(0)
        gaps = (total + offset).expand(len(member.ids) + 1, -1)
        rests = torch.cat([total - own[1:-1], gaps])
        worth = cosines_of_sums(rests, self.states[self.words], target_on(state, hidden.device))
        if self.guesser is None or member.fluency is None:
            return worth
        reading = self.guesser.read(state.target.vector)
        [odds] = reading.continuations([(member.ids, member.fluency)], self.words)
        gains = torch.cat([odds[:-1] - member.fluency.chosen[:-1, None], odds])
        return worth + FLUENCY * gains
