"""The loss of an edit network, and the drafts that it makes for its next step."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nanov2t.models.edit_network import DELETE, KEEP, REPLACE, EditNetwork, Edits
from nanov2t.train.labels import IGNORED, Labels
from nanov2t.train.sampled import Candidates

CHILDREN = 2
"""Drafts that are made of one."""
DRAWS = 4
"""Random numbers a place: for its action, its word, its gap and the gap's word."""
ROWS = 256
"""Places whose words are drawn together."""


class EditOutput(NamedTuple):
    """Losses in nats: `loss` a place, the others summed."""

    loss: Tensor
    actions: Tensor
    """Of keeping, replacing or deleting words and of filling gaps or not."""
    words: Tensor
    """Of replacements and insertions."""
    order: Tensor
    """Of the tokens that follow tokens."""
    children: list[list[list[int]]]
    """CHILDREN drafts of each of the n, as ids without special tokens; empty without noise."""


class EditLoss(nn.Module):
    """Cross entropy of the right edits under an edit network."""

    def __init__(self, network: EditNetwork):
        super().__init__()
        self.network = network

    def forward(
        self,
        targets: Tensor,
        ids: Tensor,
        states: Tensor,
        vectors: Tensor,
        mask: Tensor,
        labels: Labels,
        candidates: Candidates,
        places: int,
        noise: Tensor | None = None,
    ) -> EditOutput:
        """See :meth:`EditNetwork.forward`; `places` is what the nats are divided by, and `noise`,
        uniform float32 [n, CHILDREN, t or more, DRAWS], draws children."""
        network = self.network
        edits: Edits = network(targets, ids, states, vectors, mask)
        actions = _nats(edits.action.flatten(0, 1), labels.actions.flatten())
        actions = actions + _nats(edits.insertion.flatten(0, 1), labels.gaps.flatten())
        words = torch.zeros((), device=ids.device)
        for head, at in (
            (network.replacements, labels.replaced),
            (network.insertions, labels.inserted),
        ):
            logits = head(edits, at[0], at[1], candidates.words) + candidates.correction
            words = words + _nats(logits, candidates.places(at[2]))
        order = order_nats(edits.order, labels.order)
        children = (
            [] if noise is None else draw_children(network, edits, ids, mask, candidates, noise)
        )
        return EditOutput(
            (actions + words + order) / places,
            actions.detach(),
            words.detach(),
            order.detach(),
            children,
        )


def _nats(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits, labels, reduction="sum", ignore_index=IGNORED)


def order_nats(order: Tensor, labels: Tensor) -> Tensor:
    """The nats of the followers, of order [n, t, t] and labels long [3, m]: see Labels."""
    right = torch.zeros_like(order, dtype=torch.bool)
    right[labels[0], labels[1], labels[2]] = True
    known = right.any(-1)
    return -order[known].masked_fill(~right[known], -torch.inf).logsumexp(-1).sum()


@torch.no_grad()
def draw_children(
    network: EditNetwork,
    edits: Edits,
    ids: Tensor,
    mask: Tensor,
    candidates: Candidates,
    noise: Tensor,
) -> list[list[list[int]]]:
    """Drafts with every edit made by its own probability: see :class:`EditOutput`."""
    t = ids.shape[1]
    action = edits.action.softmax(-1).cumsum(-1)  # [n, t, 3]
    gap = edits.insertion.softmax(-1)[..., 1]  # [n, t - 1]
    length, rows = mask.sum(1).tolist(), ids.tolist()
    drawn = []
    for child in range(CHILDREN):
        u = noise[:, child, :t]  # [n, t, DRAWS]
        chosen = (u[..., 0, None] > action[..., :-1]).sum(-1)
        chosen[:, 0] = KEEP
        chosen.masked_fill_(~mask, KEEP).scatter_(1, mask.sum(1, keepdim=True) - 1, KEEP)
        filled = (u[:, :-1, 2] < gap) & mask[:, 1:]
        words = _draw_words(network.replacements, edits, chosen == REPLACE, candidates, u[..., 1])
        missing = _draw_words(network.insertions, edits, filled, candidates, u[:, :-1, 3])
        kept = (chosen != DELETE).tolist()
        drawn.append(
            [
                _edited(rows[i][: length[i]], kept[i], words.get(i, {}), missing.get(i, {}))
                for i in range(len(rows))
            ]
        )
    return [list(children) for children in zip(*drawn, strict=True)]


def _draw_words(
    head: Callable[..., Tensor], edits: Edits, where: Tensor, candidates: Candidates, u: Tensor
) -> dict[int, dict[int, int]]:
    """A word for each place of `where`, bool [n, t], by row and place; u [n, t] is uniform."""
    found: dict[int, dict[int, int]] = {}
    for part in where.nonzero().split(ROWS):
        rows, places = part.unbind(1)
        logits = head(edits, rows, places, candidates.words) + candidates.stand_in
        odds = logits.softmax(-1).cumsum(-1)
        drawn = torch.searchsorted(odds, u[rows, places][:, None] * odds[:, -1:])
        words = candidates.words[drawn[:, 0].clamp(max=odds.shape[1] - 1)]
        for row, place, word in zip(rows.tolist(), places.tolist(), words.tolist(), strict=True):
            found.setdefault(row, {})[place] = word
    return found


def _edited(
    ids: list[int], kept: list[bool], words: dict[int, int], missing: dict[int, int]
) -> list[int]:
    edited = []
    for place in range(len(ids) - 1):
        if place and kept[place]:
            edited.append(words.get(place, ids[place]))
        if place in missing:
            edited.append(missing[place])
    return edited
