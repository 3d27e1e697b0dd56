"""Greedy and beam search over a T5 decoder with a static key-value cache.

Written by hand because searching is most of an inversion's time. The beams of an input are the
queries of one attention, over the encoder's states and over all that any of them has written, of
which a mask leaves each its own: no cache is ever reordered. An input whose search is over leaves
the batch. The ids equal those of transformers' ``generate`` (early_stopping=False,
length_penalty=1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from nanov2t.fast.packed import WORDS, output_words

if TYPE_CHECKING:
    from nanov2t.models.generator import Generator

GROUPS = 32
"""Groups into which `WORDS` words fall, to find the best of them by the best of each group."""


class Stepper:
    """One decoder step for all beams of all inputs still searched, and the caches it needs.

    Rows are inputs x beams, the beams of an input adjacent; at the first step, where the beams
    would be equal, one row an input. ``widen`` must be called once before it.
    """

    def __init__(
        self, generator: Generator, vectors: Tensor, states: Tensor, mask: Tensor, max_length: int
    ):
        t5 = generator.t5
        self.generator, self.max_length = generator, max_length
        self.start, self.pad, self.eos = (
            t5.config.decoder_start_token_id,
            t5.config.pad_token_id,
            t5.config.eos_token_id,
        )
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
        self.guess = (
            None if self.lexical is None else self.lexical.scale * self.lexical.guess(vectors)
        )
        self.head = output_words(t5.lm_head)
        words = t5.config.vocab_size if len(self.head) == 1 else WORDS
        self.words = -(-words // GROUPS) * GROUPS

    def widen(self, beams: int) -> None:
        """Set the number of beams an input has and make their caches."""
        self.beams = beams
        states = self.cross[0][0]
        shape = (self.inputs, self.heads, self.max_length * beams, states.shape[-1])
        self.past = [(states.new_empty(shape), states.new_empty(shape)) for _ in self.blocks]
        # Memory taken anew at every step would cost more than the sums made in it. Past the last
        # word it stays -inf.
        self.logits = torch.full(
            (self.inputs * beams, len(self.head), self.words), -torch.inf, device=states.device
        )
        self.shifted = torch.empty(self.inputs * beams * self.words, device=states.device)
        # Which of the beams wrote what each has at every place.
        self.authors = torch.zeros(
            (self.inputs, 1, self.max_length), dtype=torch.long, device=states.device
        )
        # What is written, and what coverage adds to the logits there: every word's share at its
        # first place.
        self.written = torch.full((self.inputs, 1, self.max_length), -1, device=states.device)
        self.gap = torch.zeros((self.inputs, 1, self.max_length), device=states.device)

    def step(self, ids: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Feed the last ids [rows]; the log probabilities, float32, and ids of the `count`
        likeliest next tokens, both [rows, count], best first."""
        t, rows = self.length, len(ids)
        if self.lexical is not None and self.guess is not None:
            last = ids.view(self.inputs, -1)
            known = (self.written[:, :, :t] == last[:, :, None]).any(2)
            self.written[:, :, t] = last
            covered = self.lexical.scale * self.lexical.log_frequency[last]
            self.gap[:, :, t] = (covered - self.guess.gather(1, last)) * ~known
        hidden = self.generator.t5.decoder.embed_tokens(ids)
        self.authors[:, :, t] = torch.arange(rows // self.inputs, device=ids.device)
        own = self.authors[:, :, : t + 1, None] == torch.arange(self.beams, device=ids.device)
        bias = self.position_bias[:, t, : t + 1].repeat_interleave(self.beams, 1)[None, :, None]
        bias = bias.masked_fill(~own.flatten(2)[:, None], torch.finfo(bias.dtype).min)
        old, new = slice((t + 1) * self.beams), slice(t * self.beams, (t + 1) * self.beams)
        for block, (keys, values), (cross_keys, cross_values) in zip(
            self.blocks, self.past, self.cross, strict=True
        ):
            layer, attention = block.layer[0], block.layer[0].SelfAttention
            normed = layer.layer_norm(hidden)
            keys[:, :, new] = self._beams(attention.k(normed))  # the first step's one for all beams
            values[:, :, new] = self._beams(attention.v(normed))
            mixed = F.scaled_dot_product_attention(
                self._beams(attention.q(normed)),
                keys[:, :, old],
                values[:, :, old],
                attn_mask=bias,
                scale=1.0,
            )
            hidden = hidden + attention.o(mixed.transpose(1, 2).reshape(rows, -1))

            layer, attention = block.layer[1], block.layer[1].EncDecAttention
            mixed = F.scaled_dot_product_attention(
                self._beams(attention.q(layer.layer_norm(hidden))),
                cross_keys,
                cross_values,
                attn_mask=self.mask[:, None, None, :],
                scale=1.0,
            )
            hidden = hidden + attention.o(mixed.transpose(1, 2).reshape(rows, -1))

            layer = block.layer[2]
            hidden = hidden + layer.DenseReluDense(layer.layer_norm(hidden))
        self.length += 1
        return self._likeliest(
            self.generator.scaled(self.generator.t5.decoder.final_layer_norm(hidden)), count
        )

    def _likeliest(self, hidden: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """The best tokens of decoder states [rows, d_model]."""
        t, rows, start = self.length, len(hidden), 0
        totals, maxima = [], []
        for i, words in enumerate(self.head):
            made = words(hidden)
            logits = self.logits[:rows, i, : made.shape[1]]
            if self.guess is None:
                logits.copy_(made)
            else:
                guess = self.guess[:, None, start : start + made.shape[1]]
                torch.add(
                    made.view(self.inputs, -1, made.shape[1]),
                    guess,
                    out=logits.view(self.inputs, -1, made.shape[1]),
                )
                place = self.written[:, :, :t].flatten(0, 1) - start
                inside = (place >= 0) & (place < made.shape[1])
                logits.scatter_add_(1, place * inside, self.gap[:, :, :t].flatten(0, 1) * inside)
            maxima.append(self.logits[:rows, i].view(rows, -1, GROUPS).amax(1))
            best = maxima[-1].amax(1)
            shifted = torch.sub(
                logits, best[:, None], out=self.shifted[: logits.numel()].view(rows, -1)
            )
            totals.append(shifted.exp_().sum(1).log_() + best)
            start += made.shape[1]
        # The best `count` words are in the `count` groups with the best maxima.
        groups = torch.cat(maxima, 1).topk(min(count, len(self.head) * GROUPS), sorted=False)[1]
        members = torch.arange(0, self.words, GROUPS, device=hidden.device)
        places = (groups // GROUPS * self.words + groups % GROUPS)[:, :, None] + members
        places = places.flatten(1)
        top, chosen = self.logits[:rows].flatten(1).gather(1, places).topk(count)
        return top - torch.stack(totals).logsumexp(0)[:, None], places.gather(1, chosen)

    def reorder(self, parents: Tensor) -> None:
        """Let each beam go on from another of its input: parents, long [inputs, beams]."""
        whole = parents[:, :, None].expand(-1, -1, self.max_length)
        self.authors, self.written, self.gap = (
            x.gather(1, whole) for x in (self.authors, self.written, self.gap)
        )

    def keep(self, inputs: Tensor) -> None:
        """Go on with these inputs [any] alone."""
        self.inputs, old = len(inputs), self.length * self.beams
        for caches in self.past:
            for cache in caches:
                cache[: self.inputs, :, :old] = cache[inputs, :, :old]
        self.past = [(keys[: self.inputs], values[: self.inputs]) for keys, values in self.past]
        self.cross = [(keys[inputs], values[inputs]) for keys, values in self.cross]
        self.mask, self.authors, self.written, self.gap = (
            x[inputs] for x in (self.mask, self.authors, self.written, self.gap)
        )
        if self.guess is not None:
            self.guess = self.guess[inputs]

    def _beams(self, states: Tensor) -> Tensor:
        """[rows, heads * d] to [inputs, heads, beams, d]"""
        return self._split(states.view(self.inputs, -1, states.shape[-1]))

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
        chosen = stepper.step(ids[alive, length - 1], 1)[1][:, 0]
        ids[alive, length] = chosen
        length += 1
        stay = (chosen != stepper.eos).nonzero()[:, 0]
        if len(stay) < len(alive):
            alive = alive[stay]
            stepper.keep(stay)
    return ids[:, :length]


def beam(stepper: Stepper, beams: int, returned: int) -> Tensor:
    """Beam search: ids, long [inputs * returned, t], those of an input adjacent, best first.

    A text's score is its log probability over its length. An input is done when its best open beam,
    scored as if it ended here, is no better than its worst finished one.
    """
    stepper.widen(beams)
    n, device, limit = stepper.inputs, stepper.mask.device, stepper.max_length
    # -1 marks what was never written: a text may well hold the pad token.
    result = torch.full((n, beams, limit), -1, device=device)
    alive = torch.arange(n, device=device)
    ids = result[:, :1].clone()
    ids[:, :, 0] = stepper.start
    scores = torch.zeros((n, 1), device=device)
    done_ids, done_scores = result.clone(), torch.full((n, beams), -1e9, device=device)
    for length in range(1, limit):
        # The best 2 * beams continuations of an input are among the best 2 * beams of each of its
        # beams.
        top, tokens = stepper.step(ids[:, :, length - 1].flatten(), 2 * beams)
        log_probs = top.view(*scores.shape, -1) + scores[:, :, None]
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
        merged = torch.cat(
            [done_scores, torch.where(finished, best / length, best / length - 1e9)], dim=1
        )
        done_scores, kept = merged.topk(beams, dim=-1)
        done_ids = torch.cat([done_ids, candidates], dim=1).gather(
            1, kept[:, :, None].expand(-1, -1, limit)
        )

        scores, kept = torch.where(ends, best - 1e9, best).topk(beams, dim=-1)
        ids = candidates.gather(1, kept[:, :, None].expand(-1, -1, limit))
        stepper.reorder(parents.gather(1, kept))

        result[alive] = done_ids
        full = done_scores.min(1).values > -1e8
        stay = (~full | (scores[:, 0] / length > done_scores.min(1).values)).nonzero()[:, 0]
        if length + 1 == limit or not len(stay):
            break
        if len(stay) < len(alive):
            ids, scores, done_ids, done_scores, alive = (
                x[stay] for x in (ids, scores, done_ids, done_scores, alive)
            )
            stepper.keep(stay)
    result = result[:, :returned].flatten(0, 1)
    longest = int((result >= 0).sum(1).max())
    return result[:, :longest].masked_fill(result[:, :longest] < 0, stepper.pad)
