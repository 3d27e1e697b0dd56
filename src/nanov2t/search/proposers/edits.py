"""Small edits of a hypothesis, proposed by the generator's own probabilities and left to the
embedder to judge.

A correction rewrites the whole text and costs a beam search; an edit changes a token and costs one
embedding. Edits are what a nearly right hypothesis needs, and what the hypotheses of a weak
generator gain most from.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from nanov2t.models.generator import Generator

ALTERNATIVES = 8
"""Tokens considered at each place."""
MISSING = 2.0
"""Weight of what the lexical head tells the target from the hypothesis by, against the generator's
own view."""


class Edit(NamedTuple):
    """Put `tokens` in the place of a hypothesis's tokens from `start` to `end`."""

    score: float
    """Log probability that it adds at the places it touches, the rest of the text as it is."""
    start: int
    end: int
    tokens: list[int]


def propose(
    generator: Generator, targets: Tensor, vectors: Tensor, ids: Tensor, mask: Tensor, count: int
) -> list[list[Edit]]:
    """The `count` likeliest edits of each hypothesis, best first: a token substituted, inserted,
    deleted, or swapped with the next. Likeliest by the generator, once words that the lexical head
    finds in the target and not in the hypothesis have gained, wherever they stand.

    Args:
        targets: float32 [n, dim], the vectors to invert.
        vectors: float32 [n, dim], the hypotheses' own.
        ids: long [n, t], the hypotheses with their closing tokens, and their mask.
    """
    draft = (vectors, ids, mask) if generator.config.corrects else ()
    logits = generator(targets, *draft, labels=ids.masked_fill(mask == 0, -100)).logits
    logits = logits.float()
    if generator.lexical is not None:
        missing = generator.lexical.guess(targets) - generator.lexical.guess(vectors)
        logits += MISSING * generator.lexical.scale * missing[:, None]
    log_probs = logits.log_softmax(-1)
    top, tokens = log_probs.topk(ALTERNATIVES, dim=-1)
    # What each place gives its own token, the next place's, and the one before's.
    own, next_, last = (
        log_probs.gather(2, torch.roll(ids, shift, 1)[:, :, None])[:, :, 0] for shift in (0, -1, 1)
    )
    rows = zip(
        ids.tolist(),
        mask.sum(1).tolist(),
        *(x.tolist() for x in (top, tokens, own, next_, last)),
        strict=True,
    )
    return [sorted(_edits(generator.config.max_tokens, *row), reverse=True)[:count] for row in rows]


def _edits(limit: int, ids: list[int], length: int, top, tokens, own, next_, last) -> list[Edit]:
    found = []
    for i in range(length):  # the last place is that of the closing token
        inside, closing = i + 1 < length, ids[length - 1]
        for score, token in zip(top[i], tokens[i], strict=True):
            if token in (ids[i], closing):
                continue
            if inside:
                found.append(Edit(score - own[i], i, i + 1, [token]))
            if length <= limit:
                found.append(Edit(score + own[i], i, i, [token]))
        if inside:
            found.append(Edit(next_[i] - own[i], i, i + 1, []))
        if i + 2 < length:
            found.append(
                Edit(next_[i] + last[i + 1] - own[i] - own[i + 1], i, i + 2, [ids[i + 1], ids[i]])
            )
    return found


def apply(ids: list[int], edits: list[Edit]) -> list[int]:
    """The token ids with edits made that do not overlap."""
    for edit in sorted(edits, key=lambda edit: -edit.start):
        ids = [*ids[: edit.start], *edit.tokens, *ids[edit.end :]]
    return ids


def combinations(improving: list[Edit]) -> list[list[Edit]]:
    """Sets of edits worth making together, given the improving ones, best first: the best two that
    do not touch each other, the best three, and so on."""
    chosen: list[Edit] = []
    sets = []
    for edit in improving:
        if all(edit.end < other.start or other.end < edit.start for other in chosen):
            chosen = [*chosen, edit]
            if len(chosen) > 1:
                sets.append(chosen)
    return sets
