"""Greedy and beam search over a T5 decoder with a static key-value cache.

Written by hand because searching is most of an inversion's time. The encoder's keys and values are shared by the beams
of an input, and an input whose search is over leaves the batch. The ids equal those of transformers' ``generate``
(early_stopping=False, length_penalty=1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from nanov2t.generator import Generator


class Stepper:
    """One decoder step for all beams of all inputs still searched, and the caches it needs.

    Rows are inputs x beams, the beams of an input adjacent. ``widen`` must be called once before the first step.
    """

    def __init__(self, generator: Generator, vectors: Tensor, states: Tensor, mask: Tensor, max_length: int):
        t5 = generator.t5
        self.generator, self.max_length = generator, max_length
        self.start, self.pad, self.eos = (
            t5.config.decoder_start_token_id, t5.config.pad_token_id, t5.config.eos_token_id)
        self.blocks = t5.decoder.block
        self.heads = t5.config.num_heads
        self.inputs, self.length = len(states), 0
        self.mask = torch.zeros(mask.shape, dtype=states.dtype, device=states.device)
        self.mask.masked_fill_(mask == 0, torch.finfo(states.dtype).min)
        attention = self.blocks[0].layer[0].SelfAttention
        self.position_bias = attention.compute_bias(max_length, max_length)[0].to(states.dtype)
        self.cross = [
            (self._split(attention.k(states)), self._split(attention.v(states)))
            for attention in (block.layer[1].EncDecAttention for block in self.blocks)
        ]
        self.lexical = generator.lexical
        self.guess = None if self.lexical is None else self.lexical.scale * self.lexical.guess(vectors)

    def widen(self, beams: int) -> None:
        """Set the number of beams an input has and make their caches."""
        self.beams = beams
        states = self.cross[0][0]
        shape = (self.inputs * beams, self.heads, self.max_length, states.shape[-1])
        self.past = [(states.new_empty(shape), states.new_empty(shape)) for _ in self.blocks]
        if self.guess is not None:
            self.guess = self.guess.repeat_interleave(beams, 0)

    def step(self, ids: Tensor) -> Tensor:
        """Feed the last ids [rows] and get the next logits, float32 [rows, vocabulary]."""
        t, rows = self.length, len(ids)
        hidden = self.generator.t5.decoder.embed_tokens(ids)
        bias = self.position_bias[:, t : t + 1, : t + 1]
        for block, (keys, values), (cross_keys, cross_values) in zip(self.blocks, self.past, self.cross, strict=True):
            layer, attention = block.layer[0], block.layer[0].SelfAttention
            normed = layer.layer_norm(hidden)
            keys[:, :, t] = attention.k(normed).view(rows, self.heads, -1)
            values[:, :, t] = attention.v(normed).view(rows, self.heads, -1)
            query = attention.q(normed).view(rows, self.heads, 1, -1)
            mixed = F.scaled_dot_product_attention(
                query, keys[:, :, : t + 1], values[:, :, : t + 1], attn_mask=bias.expand(rows, -1, -1, -1), scale=1.0)
            hidden = hidden + attention.o(mixed.reshape(rows, -1))

            layer, attention = block.layer[1], block.layer[1].EncDecAttention
            # The beams of an input read the same states: they are the queries of one attention.
            query = self._split(attention.q(layer.layer_norm(hidden)).view(self.inputs, self.beams, -1))
            mixed = F.scaled_dot_product_attention(
                query, cross_keys, cross_values, attn_mask=self.mask[:, None, None, :], scale=1.0)
            hidden = hidden + attention.o(mixed.transpose(1, 2).reshape(rows, -1))

            layer = block.layer[2]
            hidden = hidden + layer.DenseReluDense(layer.layer_norm(hidden))
        logits = self.generator.head(self.generator.t5.decoder.final_layer_norm(hidden)).float()
        if self.lexical is not None and self.guess is not None:
            covered = self.lexical.scale * self.lexical.log_frequency[ids]
            self.guess.scatter_(1, ids[:, None], covered[:, None])
            logits = logits + self.guess
        self.length += 1
        return logits

    def reorder(self, rows: Tensor, inputs: Tensor | None = None) -> None:
        """Continue with these rows [any]; `inputs`, where some leave the batch, are those that stay."""
        t = self.length
        for keys, values in self.past:
            for cache in (keys, values):
                cache[: len(rows), :, :t] = cache[:, :, :t].index_select(0, rows)
        if self.guess is not None:
            self.guess = self.guess.index_select(0, rows)
        if inputs is not None:
            self.inputs = len(inputs)
            self.past = [(keys[: len(rows)], values[: len(rows)]) for keys, values in self.past]
            self.cross = [(keys[inputs], values[inputs]) for keys, values in self.cross]
            self.mask = self.mask[inputs]

    def _split(self, states: Tensor) -> Tensor:
        """[n, s, heads * d] to [n, heads, s, d]"""
        return states.unflatten(2, (self.heads, -1)).transpose(1, 2)


def greedy(stepper: Stepper) -> Tensor:
    """The likeliest token at every step: ids, long [inputs, t]."""
    stepper.widen(1)
    device = stepper.mask.device
    ids = torch.full((stepper.inputs, stepper.max_length), stepper.pad, device=device)
    ids[:, 0] = stepper.start
    alive = torch.arange(stepper.inputs, device=device)
    length = 1
    while length < stepper.max_length and len(alive):
        chosen = stepper.step(ids[alive, length - 1]).argmax(-1)
        ids[alive, length] = chosen
        length += 1
        stay = (chosen != stepper.eos).nonzero()[:, 0]
        if len(stay) < len(alive):
            alive = alive[stay]
            stepper.reorder(stay, stay)
    return ids[:, :length]


def beam(stepper: Stepper, beams: int, returned: int) -> Tensor:
    """Beam search: ids, long [inputs * returned, t], those of an input adjacent, best first.

    A text's score is its log probability over its length. An input is done when its best open beam, scored as if it
    ended here, is no better than its worst finished one.
    """
    stepper.widen(beams)
    n, device, limit = stepper.inputs, stepper.mask.device, stepper.max_length
    # -1 marks what was never written: a text may well hold the pad token.
    result = torch.full((n, beams, limit), -1, device=device)
    alive = torch.arange(n, device=device)
    ids = result.clone()
    ids[:, :, 0] = stepper.start
    # All beams start equal: only the first may be continued at the first step.
    scores = torch.full((n, beams), -1e9, device=device)
    scores[:, 0] = 0.0
    done_ids, done_scores = result.clone(), torch.full((n, beams), -1e9, device=device)
    for length in range(1, limit):
        logits = stepper.step(ids[:, :, length - 1].flatten())
        # The best 2 * beams continuations of an input are among the best 2 * beams of each of its beams.
        top, tokens = logits.topk(2 * beams, dim=-1)
        log_probs = (top - logits.logsumexp(-1, keepdim=True)).view(len(alive), beams, -1) + scores[:, :, None]
        # 2 * beams of them leave enough to go on with, should half of them end here.
        best, chosen = log_probs.flatten(1).topk(2 * beams, dim=-1)
        parents = chosen // (2 * beams)
        token = tokens.view(len(alive), -1).gather(1, chosen)
        candidates = ids.gather(1, parents[:, :, None].expand(-1, -1, limit))
        candidates[:, :, length] = token
        ends = (token == stepper.eos) | (length + 1 == limit)

        # Only the better half may finish.
        finished = ends.clone()
        finished[:, beams:] = False
        merged = torch.cat([done_scores, torch.where(finished, best / length, best / length - 1e9)], dim=1)
        done_scores, kept = merged.topk(beams, dim=-1)
        done_ids = torch.cat([done_ids, candidates], dim=1).gather(1, kept[:, :, None].expand(-1, -1, limit))

        scores, kept = torch.where(ends, best - 1e9, best).topk(beams, dim=-1)
        ids = candidates.gather(1, kept[:, :, None].expand(-1, -1, limit))
        rows = parents.gather(1, kept) + torch.arange(len(alive), device=device)[:, None] * beams

        result[alive] = done_ids
        full = done_scores.min(1).values > -1e8
        stay = (~full | (scores[:, 0] / length > done_scores.min(1).values)).nonzero()[:, 0]
        if length + 1 == limit or not len(stay):
            break
        if len(stay) < len(alive):
            ids, scores, done_ids, done_scores, alive = (
                x[stay] for x in (ids, scores, done_ids, done_scores, alive))
            stepper.reorder(rows[stay].flatten(), stay)
        else:
            stepper.reorder(rows.flatten())
    result = result[:, :returned].flatten(0, 1)
    longest = int((result >= 0).sum(1).max())
    return result[:, :longest].masked_fill(result[:, :longest] < 0, stepper.pad)
