"""Edits in the form of corrections, for searches that rewrite hypotheses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nanov2t.models.editor import Editor
from nanov2t.models.edits import Edit, ScoredDraft, apply, conflict
from nanov2t.models.guesser import Guesser

EDITS = 64
"""Likeliest edits of a draft that its corrections are made of."""


class EditWriter:
    """A prefix language model and an editor in the place of a generator.

    Args:
        guesser: writes the first guesses; None if searches start from drafts.
        editor: scores the edits of a draft.
    """

    batches = False

    def __init__(self, guesser: Guesser | None, editor: Editor):
        self.guesser, self.editor = guesser, editor
        self.device = editor.device

    def hypothesize(self, targets: Sequence[np.ndarray], beams: int) -> list[list[str]]:
        """The `beams` best first guesses for each target, float32 [dim], best first."""
        if self.guesser is None:
            raise ValueError("there is no model to guess with")
        return [self.guesser.hypothesize(target, beams) for target in targets]

    def correct(
        self,
        targets: Sequence[np.ndarray],
        drafts: Sequence[str],
        vectors: Sequence[np.ndarray],
        beams: int,
    ) -> list[list[str]]:
        """The `beams` likeliest corrections of each draft, best first, or itself where nothing can
        be edited; targets are float32 [dim] each. What the drafts' own vectors would say is read
        off their states."""
        scored = self.editor.score(targets, drafts, EDITS)
        rows = [likeliest(draft, beams) or [list(draft.ids)] for draft in scored]
        texts = iter(self.editor.decode([row for group in rows for row in group]))
        return [
            [next(texts) for _ in group] if draft.edits else [text]
            for text, draft, group in zip(drafts, scored, rows, strict=True)
        ]


def likeliest(draft: ScoredDraft, count: int) -> list[list[int]]:
    """The token ids that the `count` likeliest sets of a draft's edits make, best first. The log
    odds of edits that are made together add up."""
    sets: list[tuple[float, list[Edit]]] = [(0.0, [])]
    for edit, odds in zip(draft.edits, draft.odds.tolist(), strict=True):
        grown = [
            (total + odds, [*made, edit])
            for total, made in sets
            if not any(conflict(edit, other) for other in made)
        ]
        best = sorted([*sets, *grown], key=lambda scored: -scored[0])
        sets = best[: count + 1]  # the draft as it is may be among them
    rows = [apply(draft.ids, made) for _, made in sets if made]
    return [row for row in rows if row][:count]
