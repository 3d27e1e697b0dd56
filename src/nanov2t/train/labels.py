"""The edits that an edit network should predict for a draft, given its text."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nanov2t.models.edit_network import DELETE, KEEP, REPLACE

IGNORED = -100
BEGIN, END = -1, -2
"""Stand for the places before and after a text."""


class RowLabels(NamedTuple):
    """The labels of one draft of m words."""

    actions: list[int]
    """[m], KEEP, REPLACE or DELETE."""
    replaced: dict[int, int]
    """Place among the words to the word that belongs there."""
    inserted: dict[int, int]
    """Gap, the number of words before it, to a word that is missing there."""
    order: list[tuple[int, int]]
    """Tokens, counted from the special one in front, and what may follow them."""


class Labels(NamedTuple):
    """The labels of n drafts of t tokens, with special tokens; IGNORED where there is none."""

    actions: Tensor
    """long [n, t]"""
    gaps: Tensor
    """long [n, t - 1], whether a word is missing"""
    replaced: Tensor
    """long [3, m]: row, token and right word of each replacement"""
    inserted: Tensor
    """long [3, k]: row, gap and word of each insertion"""
    order: Tensor
    """long [3, j]: row, token, and a token that may follow it"""


def row_labels(
    draft: Sequence[int],
    text: Sequence[int],
    rng: np.random.Generator,
    guide: Sequence[int] | None = None,
) -> RowLabels:
    """The fewest edits that turn a draft into its text. A `guide` has the text's words in the order
    of the draft, so that `order` alone says how to reorder. Where several words are missing in one
    gap, one is drawn; the others can follow in the next round."""
    order = following(draft, text)
    actions, missing = [KEEP] * len(draft), dict[int, list[int]]()
    replaced = {}
    text = text if guide is None else guide
    distance = _distances(draft, text)
    i, j = len(draft), len(text)
    while i or j:
        here = distance[i][j]
        if i and j and draft[i - 1] == text[j - 1] and distance[i - 1][j - 1] == here:
            i, j = i - 1, j - 1
        elif i and j and distance[i - 1][j - 1] == here - 1:
            i, j = i - 1, j - 1
            actions[i], replaced[i] = REPLACE, text[j]
        elif i and distance[i - 1][j] == here - 1:
            i -= 1
            actions[i] = DELETE
        else:
            j -= 1
            missing.setdefault(i, []).append(text[j])
    inserted = {gap: words[int(rng.integers(len(words)))] for gap, words in missing.items()}
    return RowLabels(actions, replaced, inserted, order)


def following(draft: Sequence[int], text: Sequence[int]) -> list[tuple[int, int]]:
    """Pairs of tokens of a draft, counted from the opening one. The second follows the first in the
    text once that is cut down to the draft's words."""
    places: dict[int, list[int]] = {BEGIN: [0], END: [len(draft) + 1]}
    for place, word in enumerate(draft, 1):
        places.setdefault(word, []).append(place)
    known = [BEGIN, *(word for word in text if word in places), END]
    pairs = {
        (i, j)
        for word, follower in itertools.pairwise(known)
        for i in places[word]
        for j in places[follower]
        if i != j
    }
    return sorted(pairs)


def _distances(draft: Sequence[int], text: Sequence[int]) -> list[list[int]]:
    """Edits between the beginnings of two sequences, [len(draft) + 1][len(text) + 1]."""
    rows = [list(range(len(text) + 1))]
    for i, word in enumerate(draft, 1):
        above, row = rows[-1], [i]
        for j, other in enumerate(text, 1):
            row.append(min(above[j - 1] + (word != other), above[j] + 1, row[-1] + 1))
        rows.append(row)
    return rows


def collate(rows: Sequence[RowLabels], width: int, device: torch.device) -> Labels:
    """The labels of drafts together, padded to `width` tokens."""
    actions = torch.full((len(rows), width), IGNORED)
    gaps = torch.full((len(rows), width - 1), IGNORED)
    for i, row in enumerate(rows):
        words = len(row.actions)
        actions[i, 1 : words + 1] = torch.tensor(row.actions, dtype=torch.long)
        gaps[i, : words + 1] = 0
        gaps[i, list(row.inserted)] = 1
    replaced = [
        (i, place + 1, word) for i, r in enumerate(rows) for place, word in r.replaced.items()
    ]
    inserted = [(i, gap, word) for i, r in enumerate(rows) for gap, word in r.inserted.items()]
    order = [(i, token, follower) for i, r in enumerate(rows) for token, follower in r.order]
    at = (
        torch.tensor(found, dtype=torch.long).reshape(-1, 3).T.to(device)
        for found in (replaced, inserted, order)
    )
    return Labels(actions.to(device), gaps.to(device), *at)
