"""Members as an editor scores them, once for all proposers that ask."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from weakref import WeakKeyDictionary

import numpy as np
import torch

from nanov2t.models.editor import Editor, ScoredDraft
from nanov2t.search.state import Member, SearchState

KNOWN = 128
"""Edits that are kept of a member."""


class Scored:
    """The edits of a population's members; those of members that have left it are forgotten."""

    def __init__(self, editor: Editor):
        self.editor = editor
        self._drafts: WeakKeyDictionary[SearchState, dict[str, ScoredDraft]] = WeakKeyDictionary()
        self._places: WeakKeyDictionary[SearchState, np.ndarray] = WeakKeyDictionary()

    def of(self, state: SearchState, members: Sequence[Member]) -> dict[str, ScoredDraft]:
        """By their texts; members that are too long for the editor are left out."""
        known = self._drafts.get(state, {})
        if self._places.get(state) is not state.target.vector:
            known = {}  # scored for where the target seemed to be
            self._places[state] = state.target.vector
        alive = {member.text for member in state.population}
        known = {text: draft for text, draft in known.items() if text in alive}
        lengths = defaultdict(list)
        for member in members:
            if member.text not in known:
                lengths[len(member.row)].append(member)
        for group in lengths.values():
            hidden = torch.stack([member.states for member in group])
            ids = torch.tensor([member.row for member in group], device=hidden.device)
            targets = [state.target.vector] * len(group)
            drafts = self.editor.score_states(targets, ids, hidden, KNOWN)
            for member, draft in zip(group, drafts, strict=False):  # none where they are too long
                known[member.text] = draft
        self._drafts[state] = known
        return {member.text: known[member.text] for member in members if member.text in known}
