"""Greedy and beam search over a T5 decoder.

The ids equal those of transformers' ``generate`` (early_stopping=False, length_penalty=1). An input
whose search is over leaves the batch. In the shapes, n is inputs, b beams an input, t tokens.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from nanov2t.fast.stepper import Stepper

NEVER = -1e9
"""Added to the score of a beam that must not be chosen."""


def greedy(stepper: Stepper) -> Tensor:
    """The likeliest token at every step: ids, long [n, t]."""
    stepper.widen(1)
    device = stepper.mask.device
    ids = torch.full((stepper.inputs, stepper.max_length), stepper.pad, device=device)
    ids[:, 0] = stepper.start
    alive = torch.arange(stepper.inputs, device=device)
    length = 1
    while length < stepper.max_length and len(alive):
        chosen = stepper.step(ids[alive, length - 1], 1)[1][:, 0]
        ids[alive, length] = chosen
        length += 1
        stay = (chosen != stepper.eos).nonzero()[:, 0]
        if len(stay) < len(alive):
            alive = alive[stay]
            stepper.keep(stay)
    return ids[:, :length]


class Beams(NamedTuple):
    """The beams of the inputs still searched. -1 marks what was never written, for a text may well
    hold the pad token."""

    ids: Tensor
    """long [n, b, max_length], open"""
    scores: Tensor
    """float32 [n, b], log probabilities of the open ones"""
    done_ids: Tensor
    """long [n, b, max_length], finished, best first"""
    done_scores: Tensor
    """float32 [n, b], log probabilities over lengths"""


def beam(stepper: Stepper, beams: int, returned: int) -> Tensor:
    """Beam search: ids, long [n * returned, t], those of an input adjacent, best first.

    A text's score is its log probability over its length. An input is done when its best open beam,
    scored as if it ended here, is no better than its worst finished one.
    """
    stepper.widen(beams)
    n, device, limit = stepper.inputs, stepper.mask.device, stepper.max_length
    result = torch.full((n, beams, limit), -1, device=device)
    alive = torch.arange(n, device=device)
    ids = result[:, :1].clone()
    ids[:, :, 0] = stepper.start
    scores = torch.zeros((n, 1), device=device)
    done_scores = torch.full((n, beams), NEVER, device=device)
    state = Beams(ids, scores, result.clone(), done_scores)
    for length in range(1, limit):
        state, parents = _extend(stepper, state, length, beams)
        stepper.reorder(parents)
        result[alive] = state.done_ids
        worst = state.done_scores.min(1).values
        full = worst > NEVER / 10
        stay = (~full | (state.scores[:, 0] / length > worst)).nonzero()[:, 0]
        if length + 1 == limit or not len(stay):
            break
        if len(stay) < len(alive):
            state, alive = Beams(*(tensor[stay] for tensor in state)), alive[stay]
            stepper.keep(stay)
    result = result[:, :returned].flatten(0, 1)
    result = result[:, : int((result >= 0).sum(1).max())]
    return result.masked_fill(result < 0, stepper.pad)


def _extend(stepper: Stepper, state: Beams, length: int, beams: int) -> tuple[Beams, Tensor]:
    """Write the token at place `length` of every beam; also the beams that the new ones go on from,
    long [n, b]."""
    ids, scores, done_ids, done_scores = state
    limit, width = stepper.max_length, 2 * beams
    # The best `width` continuations of an input are among the best `width` of each of its beams,
    # and enough to go on with, should half of them end here.
    top, tokens = stepper.step(ids[:, :, length - 1].flatten(), width)
    log_probs = top.view(*scores.shape, -1) + scores[:, :, None]  # [n, b, width]
    best, chosen = log_probs.flatten(1).topk(width, dim=-1)  # [n, width]
    parents = chosen // width
    token = tokens.view(len(ids), -1).gather(1, chosen)
    candidates = _rows(ids, parents)
    candidates[:, :, length] = token
    ends = (token == stepper.eos) | (length + 1 == limit)

    # Only the better half may finish.
    finished = ends.clone()
    finished[:, beams:] = False
    by_length = torch.where(finished, best / length, best / length + NEVER)
    done_scores, kept = torch.cat([done_scores, by_length], dim=1).topk(beams, dim=-1)
    done_ids = _rows(torch.cat([done_ids, candidates], dim=1), kept)

    scores, kept = torch.where(ends, best + NEVER, best).topk(beams, dim=-1)
    return Beams(_rows(candidates, kept), scores, done_ids, done_scores), parents.gather(1, kept)


def _rows(texts: Tensor, index: Tensor) -> Tensor:
    """The texts, [n, any, t], of these places, long [n, k]: [n, k, t]."""
    return texts.gather(1, index[:, :, None].expand(-1, -1, texts.shape[2]))
