"""What an edit network should predict for a draft, the loss of what it predicts, and the drafts
that it makes for its next step."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nanov2t.models.edit_network import DELETE, KEEP, REPLACE, EditNetwork, Edits
from nanov2t.train.network import Candidates

BEGIN, END = -1, -2  # the places before and after a text
IGNORED, NOTHING = -100, -1  # labels that do not count, and places without a word
CHILDREN, DRAWS = 2, 4
"""Drafts made from one, and random numbers a place: for its action, its word, its gap and the gap's
word."""
ROWS = 256  # places whose words are drawn together
Rows = list[list[int]]


class Drafts(NamedTuple):
    """n drafts: ids, long [n, t], with special tokens and padded; states [n, t, hidden]; vectors,
    float32 [n, dim]; and mask, bool [n, t]."""

    ids: Tensor
    states: Tensor
    vectors: Tensor
    mask: Tensor


class RowLabels(NamedTuple):
    """The labels of a draft: KEEP, REPLACE or DELETE for each word; right words by place; missing
    words by gap, which is the number of words before it; and pairs of a token, counted from the
    opening one, and a token that may follow it."""

    actions: list[int]
    replaced: dict[int, int]
    inserted: dict[int, int]
    order: list[tuple[int, int]]


class Labels(NamedTuple):
    """The labels of n drafts of t tokens, special ones included: actions, long [n, t], and whether
    gaps lack a word, long [n, t - 1], both IGNORED at special tokens and padding; row, place and
    word of replacements and insertions, long [3, m]; row, token and follower, long [3, k]."""

    actions: Tensor
    gaps: Tensor
    replaced: Tensor
    inserted: Tensor
    order: Tensor


def row_labels(
    draft: Sequence[int], text: Sequence[int], guide: Sequence[int], rng: np.random.Generator
) -> RowLabels:
    """The fewest edits that turn a draft into its text. The `guide` has the text's words in the
    draft's order, so only `order` says how to reorder. If a gap lacks several words, one is drawn;
    the others can follow in the next round."""
    actions, missing = [KEEP] * len(draft), dict[int, list[int]]()
    replaced = {}
    distance = _distances(draft, guide)
    i, j = len(draft), len(guide)
    while i or j:
        here = distance[i][j]
        if i and j and draft[i - 1] == guide[j - 1] and distance[i - 1][j - 1] == here:
            i, j = i - 1, j - 1
        elif i and j and distance[i - 1][j - 1] == here - 1:
            i, j = i - 1, j - 1
            actions[i], replaced[i] = REPLACE, guide[j]
        elif i and distance[i - 1][j] == here - 1:
            i -= 1
            actions[i] = DELETE
        else:
            j -= 1
            missing.setdefault(i, []).append(guide[j])
    inserted = {gap: words[int(rng.integers(len(words)))] for gap, words in missing.items()}
    return RowLabels(actions, replaced, inserted, following(draft, text))


def following(draft: Sequence[int], text: Sequence[int]) -> list[tuple[int, int]]:
    """Pairs of a draft's tokens, counted from the opening one, of which the second follows the
    first in the text without the words that the draft lacks."""
    places: dict[int, list[int]] = {BEGIN: [0], END: [len(draft) + 1]}
    for place, word in enumerate(draft, 1):
        places.setdefault(word, []).append(place)
    known = [BEGIN, *(word for word in text if word in places), END]
    pairs = {
        pair
        for word, follower in itertools.pairwise(known)
        for pair in itertools.product(places[word], places[follower])
    }
    return sorted((i, j) for i, j in pairs if i != j)


def _distances(draft: Sequence[int], text: Sequence[int]) -> list[list[int]]:
    """Edits between the beginnings of two sequences, [len(draft) + 1][len(text) + 1]."""
    rows = [list(range(len(text) + 1))]
    for i, word in enumerate(draft, 1):
        above, row = rows[-1], [i]
        for j, other in enumerate(text, 1):
            row.append(min(above[j - 1] + (word != other), above[j] + 1, row[-1] + 1))
        rows.append(row)
    return rows


def labels_of(
    drafts: Drafts, texts: Rows, guides: Rows, rngs: Sequence[np.random.Generator]
) -> Labels:
    """The labels of all drafts: see :func:`row_labels`."""
    lengths, device = drafts.mask.sum(1).tolist(), drafts.ids.device
    words = [row[1 : n - 1] for row, n in zip(drafts.ids.tolist(), lengths, strict=True)]
    rows = [row_labels(*row) for row in zip(words, texts, guides, rngs, strict=True)]
    actions = torch.full(drafts.ids.shape, IGNORED)
    gaps = actions[:, 1:].clone()
    for i, row in enumerate(rows):
        end = len(row.actions) + 1
        actions[i, 1:end] = torch.tensor(row.actions, dtype=torch.long)
        gaps[i, :end] = 0
        gaps[i, list(row.inserted)] = 1
    triples = (
        [(i, place + 1, word) for i, r in enumerate(rows) for place, word in r.replaced.items()],
        [(i, *pair) for i, row in enumerate(rows) for pair in row.inserted.items()],
        [(i, *pair) for i, row in enumerate(rows) for pair in row.order],
    )
    at = (torch.tensor(x, dtype=torch.long).reshape(-1, 3).T.to(device) for x in triples)
    return Labels(actions.to(device), gaps.to(device), *at)


class EditLoss(nn.Module):
    """Cross entropy of the right edits under an edit network."""

    def __init__(self, network: EditNetwork):
        super().__init__()
        self.network = network

    def forward(
        self,
        targets: Tensor,
        drafts: Drafts,
        labels: Labels,
        candidates: Candidates,
        noise: Tensor | None = None,
    ) -> tuple[tuple[Tensor, ...], Rows]:
        """The summed nats of actions and gaps, of words to put in, and of followers, given targets,
        float32 [n, dim]; and CHILDREN drafts of each draft if there is uniform `noise` to draw them
        by, float32 [n, CHILDREN, t or more, DRAWS]."""
        network = self.network
        summed = partial(F.cross_entropy, reduction="sum", ignore_index=IGNORED)
        edits = network(targets, *drafts)
        actions = summed(edits.action.flatten(0, 1), labels.actions.flatten())
        actions = actions + summed(edits.insertion.flatten(0, 1), labels.gaps.flatten())
        words = torch.zeros((), device=actions.device)
        heads = (network.replacements, labels.replaced), (network.insertions, labels.inserted)
        for head, (rows, at, right) in heads:
            logits = head(edits, rows, at, candidates.words) + candidates.correction
            words = words + summed(logits, candidates.places(right))
        follows = torch.zeros_like(edits.order, dtype=torch.bool)
        follows[*labels.order] = True
        known = follows.any(-1)
        order = -edits.order[known].masked_fill(~follows[known], -torch.inf).logsumexp(-1).sum()
        children = [] if noise is None else draw_children(network, edits, drafts, candidates, noise)
        return (actions, words, order), children


@torch.no_grad()
def draw_children(
    network: EditNetwork, edits: Edits, drafts: Drafts, candidates: Candidates, noise: Tensor
) -> Rows:
    """Make each edit of drafts with its own probability. Returns ids without special tokens."""

    def draw(head: Callable[..., Tensor], where: Tensor, u: Tensor) -> Tensor:
        """A word, long [m], for each place in `where`, bool [n, t], by uniform u [n, t]."""
        words = []
        for part in where.nonzero().split(ROWS):
            rows, places = part.unbind(1)
            logits = head(edits, rows, places, candidates.words) + candidates.stand_in
            odds = logits.softmax(-1).cumsum(-1)
            chosen = torch.searchsorted(odds, u[rows, places][:, None] * odds[:, -1:])
            words.append(candidates.words[chosen[:, 0].clamp(max=odds.shape[1] - 1)])
        return torch.cat(words)

    ids, mask = drafts.ids, drafts.mask
    inner = mask.scatter(1, mask.sum(1, keepdim=True) - 1, False)
    inner[:, 0] = False
    action = edits.action.softmax(-1).cumsum(-1)  # [n, t, 3]
    gap = edits.insertion.softmax(-1)[..., 1]  # [n, t - 1]
    drawn = []
    for u in noise[:, :, : ids.shape[1]].unbind(1):  # [n, t, DRAWS]
        chosen = (u[..., 0, None] > action[..., :-1]).sum(-1)
        replaced, filled = inner & (chosen == REPLACE), (u[:, :-1, 2] < gap) & mask[:, 1:]
        words = ids.masked_fill(~inner | (chosen == DELETE), NOTHING)
        words[replaced] = draw(network.replacements, replaced, u[..., 1])
        added = torch.full_like(ids, NOTHING)
        added[:, :-1][filled] = draw(network.insertions, filled, u[..., 3])
        rows = torch.stack([words, added], -1).flatten(1).tolist()
        drawn.append([[word for word in row if word != NOTHING] for row in rows])
    return [child for children in zip(*drawn, strict=True) for child in children]
