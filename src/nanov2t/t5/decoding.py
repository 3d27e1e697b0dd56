"""Greedy and beam search over a T5 decoder with a static key-value cache.

It writes the same ids as transformers' ``generate`` (early_stopping=False, length_penalty=1) almost
twice as fast on a CPU, and decoding is most of a search. The beams of an input are the queries of
one attention over all that any of them has written. A mask shows each beam its own past, so no
cache is reordered. An input whose search is over leaves the batch.

Shapes: n inputs, b beams, rows n * b (the beams of an input adjacent), t tokens written so far, s
encoder positions, h heads of width d.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers.modeling_outputs import BaseModelOutput

from nanov2t.fast import WORDS, PackedWords

GROUPS = 32
"""Groups of a block of `WORDS` words. The best words are in the groups with the best maxima."""
NEVER = -1e9  # added to the score of a beam that must not be chosen


def by_transformers(
    t5: Any, states: Tensor, mask: Tensor, beams: int, returned: int, max_length: int
) -> Tensor:
    """Decode by transformers' ``generate``, the reference for the fast path."""
    ids: Tensor = t5.generate(
        encoder_outputs=BaseModelOutput(states),
        attention_mask=mask,
        num_beams=beams,
        num_return_sequences=returned,
        max_length=max_length,
        do_sample=False,
    )
    # It takes a pad id of 0 for none, and fills beams that ended with closing tokens.
    ended = (ids == t5.config.eos_token_id).long().cumsum(1)[:, :-1] > 0
    return ids.masked_fill(F.pad(ended, (1, 0), value=False), t5.config.pad_token_id)


def greedy(stepper: Stepper) -> Tensor:
    """The likeliest token at every step: ids, long [n, t]."""
    n, device, length = stepper.inputs, stepper.mask.device, 1
    ids = torch.full((n, stepper.max_length), stepper.pad, device=device)
    ids[:, 0] = stepper.start
    alive = torch.arange(n, device=device)
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
    """The beams of the inputs still searched; -1 marks places never written."""

    ids: Tensor  # long [n, b, max_length], open
    scores: Tensor  # float32 [n, b], log probabilities of the open ones
    done_ids: Tensor  # long [n, b, max_length], finished, best first
    done_scores: Tensor  # float32 [n, b], log probabilities over lengths


def beam(stepper: Stepper, returned: int) -> Tensor:
    """Beam search: ids, long [n * returned, t], those of an input adjacent, best first. A text's
    score is its log probability divided by its length. An input is done when its best open beam,
    scored as if it ended here, is no better than its worst finished one."""
    n, beams, limit = stepper.inputs, stepper.beams, stepper.max_length
    device = stepper.mask.device
    result = torch.full((n, beams, limit), -1, device=device)
    alive = torch.arange(n, device=device)
    ids = result[:, :1].clone()
    ids[:, :, 0] = stepper.start
    scores = torch.zeros((n, 1), device=device)
    done_scores = torch.full((n, beams), NEVER, device=device)
    state = Beams(ids, scores, result.clone(), done_scores)
    for length in range(1, limit):
        state, parents = _extend(stepper, state, length)
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


def _extend(stepper: Stepper, state: Beams, length: int) -> tuple[Beams, Tensor]:
    """Write the token at place `length` of every beam. Returns also the parents of the new beams,
    long [n, b]."""
    ids, scores, done_ids, done_scores = state
    beams, width = stepper.beams, 2 * stepper.beams
    # The best `width` continuations of an input are among the best `width` of each of its beams,
    # and are enough to continue with if half of them end here.
    top, tokens = stepper.step(ids[:, :, length - 1].flatten(), width)
    log_probs = top.view(*scores.shape, -1) + scores[:, :, None]  # [n, b, width]
    best, chosen = log_probs.flatten(1).topk(width, dim=-1)  # [n, width]
    parents = chosen // width
    token = tokens.view(len(ids), -1).gather(1, chosen)
    candidates = _rows(ids, parents)
    candidates[:, :, length] = token
    ends = (token == stepper.eos) | (length + 1 == stepper.max_length)

    # Only the better half may finish.
    finished = ends.clone()
    finished[:, beams:] = False
    by_length = torch.where(finished, best / length, best / length + NEVER)
    done_scores, kept = torch.cat([done_scores, by_length], dim=1).topk(beams, dim=-1)
    done_ids = _rows(torch.cat([done_ids, candidates], dim=1), kept)

    scores, kept = torch.where(ends, best + NEVER, best).topk(beams, dim=-1)
    return Beams(_rows(candidates, kept), scores, done_ids, done_scores), parents.gather(1, kept)


def _rows(texts: Tensor, index: Tensor) -> Tensor:
    """The texts [n, any, t] at the places `index`, long [n, k]: [n, k, t]."""
    return texts.gather(1, index[:, :, None].expand(-1, -1, texts.shape[2]))


class Stepper:
    """One decoder step for all beams of all inputs still searched, and the caches it needs. The
    first step has one row an input, whose beams would be equal. The T5's layers may be packed;
    `states` [n, s, d_model] and `mask` [n, s] are its encoder's; `max_length` counts the start
    token."""

    def __init__(self, t5: Any, states: Tensor, mask: Tensor, max_length: int, beams: int):
        config, n, device = t5.config, len(states), states.device
        self.t5, self.max_length, self.beams = t5, max_length, beams
        self.start: int = config.decoder_start_token_id
        self.pad: int = config.pad_token_id
        self.eos: int = config.eos_token_id
        self.blocks, self.heads = t5.decoder.block, config.num_heads
        self.inputs, self.length = n, 0
        self.mask = torch.zeros(mask.shape, dtype=states.dtype, device=device)  # [n, s]
        self.mask.masked_fill_(mask == 0, torch.finfo(states.dtype).min)
        attention = self.blocks[0].layer[0].SelfAttention
        bias = attention.compute_bias(max_length, max_length)[0]
        self.position_bias: Tensor = bias.to(states.dtype)  # [h, max_length, max_length]
        self.cross = [  # keys and values of every layer, [n, h, s, d]
            (self._split_heads(attention.k(states)), self._split_heads(attention.v(states)))
            for attention in (block.layer[1].EncDecAttention for block in self.blocks)
        ]
        # Functions from states to the logits of `WORDS` words each, or of all.
        self.head = list(t5.lm_head) if isinstance(t5.lm_head, PackedWords) else [t5.lm_head]
        words = config.vocab_size if len(self.head) == 1 else WORDS
        self.words = -(-words // GROUPS) * GROUPS
        cache = (n, self.heads, max_length * beams, self.cross[0][0].shape[-1])
        self.past = [(states.new_empty(cache), states.new_empty(cache)) for _ in self.blocks]
        # Allocated once, since allocation would cost more than the arithmetic of a step. Past the
        # last word it stays -inf.
        table = (n * beams, len(self.head), self.words)
        self.logits = torch.full(table, -torch.inf, device=device)
        self.shifted = torch.empty(n * beams * self.words, device=device)
        # Which of the beams wrote what each has at every place: [n, b, max_length].
        self.authors = torch.zeros((n, 1, max_length), dtype=torch.long, device=device)

    def step(self, ids: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Feed the last ids, long [rows]. Returns the log probabilities, float32, and ids of the
        `count` likeliest next tokens, both [rows, count], best first."""
        hidden = self.t5.decoder.embed_tokens(ids)  # [rows, d_model]
        bias = self._own_bias(len(ids))
        end = self.length * self.beams
        old, new = slice(end + self.beams), slice(end, end + self.beams)
        for block, (keys, values), cross in zip(self.blocks, self.past, self.cross, strict=True):
            layer, attention = block.layer[0], block.layer[0].SelfAttention
            normed = layer.layer_norm(hidden)
            keys[:, :, new] = self._by_input(attention.k(normed))  # the first step's: for all beams
            values[:, :, new] = self._by_input(attention.v(normed))
            query = self._by_input(attention.q(normed))
            hidden = hidden + _attend(attention, query, keys[:, :, old], values[:, :, old], bias)

            layer, attention = block.layer[1], block.layer[1].EncDecAttention
            query = self._by_input(attention.q(layer.layer_norm(hidden)))
            hidden = hidden + _attend(attention, query, *cross, self.mask[:, None, None, :])

            layer = block.layer[2]
            hidden = hidden + layer.DenseReluDense(layer.layer_norm(hidden))
        self.length += 1
        return self._likeliest(scaled(self.t5, self.t5.decoder.final_layer_norm(hidden)), count)

    def reorder(self, parents: Tensor) -> None:
        """Make each beam continue another of its input: parents, long [n, b]."""
        index = parents[:, :, None].expand(-1, -1, self.max_length)
        self.authors = self.authors.gather(1, index)

    def keep(self, inputs: Tensor) -> None:
        """Drop all inputs but these, long [any]."""
        self.inputs, end = len(inputs), self.length * self.beams
        for caches in self.past:
            for cache in caches:
                cache[: self.inputs, :, :end] = cache[inputs, :, :end]
        self.past = [(keys[: self.inputs], values[: self.inputs]) for keys, values in self.past]
        self.cross = [(keys[inputs], values[inputs]) for keys, values in self.cross]
        self.mask, self.authors = self.mask[inputs], self.authors[inputs]

    def _own_bias(self, rows: int) -> Tensor:
        """The bias of self-attention, which shows each beam only its own past. It broadcasts to
        [n, h, b, (t + 1) * b]."""
        t, device = self.length, self.mask.device
        self.authors[:, :, t] = torch.arange(rows // self.inputs, device=device)
        own = self.authors[:, :, : t + 1, None] == torch.arange(self.beams, device=device)
        places = self.position_bias[:, t, : t + 1].repeat_interleave(self.beams, 1)
        bias: Tensor = places[None, :, None]
        return bias.masked_fill(~own.flatten(2)[:, None], torch.finfo(bias.dtype).min)

    def _likeliest(self, hidden: Tensor, count: int) -> tuple[Tensor, Tensor]:
        rows = len(hidden)
        totals, maxima = [], []  # of each block of words: log sum exp [rows], maxima [rows, GROUPS]
        for i, block in enumerate(self.head):
            made = block(hidden)  # [rows, words of the block]
            logits = self.logits[:rows, i, : made.shape[1]]
            logits.copy_(made)
            maxima.append(self.logits[:rows, i].view(rows, -1, GROUPS).amax(1))
            highest = maxima[-1].amax(1)  # [rows]
            shifted = self.shifted[: logits.numel()].view(rows, -1)
            torch.sub(logits, highest[:, None], out=shifted)
            totals.append(shifted.exp_().sum(1).log_() + highest)
        count_groups = min(count, len(self.head) * GROUPS)
        groups = torch.cat(maxima, 1).topk(count_groups, sorted=False)[1]
        members = torch.arange(0, self.words, GROUPS, device=hidden.device)
        places = (groups // GROUPS * self.words + groups % GROUPS)[:, :, None] + members
        places = places.flatten(1)  # [rows, words of these groups]
        top, chosen = self.logits[:rows].flatten(1).gather(1, places).topk(count)
        return top - torch.stack(totals).logsumexp(0)[:, None], places.gather(1, chosen)

    def _by_input(self, states: Tensor) -> Tensor:
        """[rows, h * d] to [n, h, b, d]"""
        return self._split_heads(states.view(self.inputs, -1, states.shape[-1]))

    def _split_heads(self, states: Tensor) -> Tensor:
        """[n, any, h * d] to [n, h, any, d]"""
        split: Tensor = states.unflatten(2, (self.heads, -1))
        return split.transpose(1, 2)


def _attend(attention: Any, query: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
    """An attention's output [rows, d_model] for a query [n, h, b, d] over keys and values
    [n, h, any, d]. T5 does not scale its products."""
    mixed = F.scaled_dot_product_attention(query, keys, values, attn_mask=bias, scale=1.0)
    made: Tensor = attention.o(mixed.transpose(1, 2).flatten(0, 1).flatten(1))
    return made


def scaled(t5: Any, hidden: Tensor) -> Tensor:
    """Decoder states [..., d_model] as the output layer reads them. T5 scales them down if its
    input and output words are tied."""
    return hidden * t5.config.d_model**-0.5 if t5.config.scale_decoder_outputs else hidden
