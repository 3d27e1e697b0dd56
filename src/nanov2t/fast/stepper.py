"""The steps of a T5 decoder with a static key-value cache.

Written by hand because searching is most of an inversion's time. The beams of an input are the
queries of one attention, over the encoder's states and over all that any of them has written, of
which a mask leaves each its own: no cache is ever reordered.

In the shapes, n is inputs, b beams, rows n * b (the beams of an input adjacent), t the tokens
written so far, s encoder positions, h heads and d their width, v the words of the vocabulary.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from nanov2t.fast.packed import WORDS, output_words

GROUPS = 32
"""Groups into which `WORDS` words fall, to find the best of them by the best of each group."""


class Guess(NamedTuple):
    """A guess at the words of each text, which is added to the logits of every step; once a word is
    written, its guess gives way to its log frequency."""

    logits: Tensor
    """float32 [n, v]"""
    log_frequency: Tensor
    """float32 [v]"""


class Stepper:
    """One decoder step for all beams of all inputs still searched, and the caches it needs.

    At the first step, where the beams of an input would be equal, there is one row an input.
    ``widen`` must be called once before it.

    Args:
        t5: a T5ForConditionalGeneration, its layers packed or not.
        states: [n, s, d_model], of the encoder.
        mask: [n, s], theirs.
        max_length: tokens at most, the start token counted in.
        guess: added to the logits, where there is one.
    """

    def __init__(
        self, t5: Any, states: Tensor, mask: Tensor, max_length: int, guess: Guess | None = None
    ):
        self.t5, self.max_length, self.guess = t5, max_length, guess
        self.start: int = t5.config.decoder_start_token_id
        self.pad: int = t5.config.pad_token_id
        self.eos: int = t5.config.eos_token_id
        self.blocks, self.heads = t5.decoder.block, t5.config.num_heads
        self.inputs, self.length = len(states), 0
        self.mask = torch.zeros(mask.shape, dtype=states.dtype, device=states.device)  # [n, s]
        self.mask.masked_fill_(mask == 0, torch.finfo(states.dtype).min)
        attention = self.blocks[0].layer[0].SelfAttention
        bias = attention.compute_bias(max_length, max_length)[0]
        self.position_bias: Tensor = bias.to(states.dtype)  # [h, max_length, max_length]
        self.cross = [  # keys and values of every layer, [n, h, s, d]
            (self._split_heads(attention.k(states)), self._split_heads(attention.v(states)))
            for attention in (block.layer[1].EncDecAttention for block in self.blocks)
        ]
        self.head = output_words(t5.lm_head)
        words = t5.config.vocab_size if len(self.head) == 1 else WORDS
        self.words = -(-words // GROUPS) * GROUPS

    def widen(self, beams: int) -> None:
        """Set the number of beams an input has and make their caches."""
        self.beams = beams
        n, device, states = self.inputs, self.mask.device, self.cross[0][0]
        cache = (n, self.heads, self.max_length * beams, states.shape[-1])
        self.past = [(states.new_empty(cache), states.new_empty(cache)) for _ in self.blocks]
        # Memory taken anew at every step would cost more than the sums made in it. Past the last
        # word it stays -inf.
        table = (n * beams, len(self.head), self.words)
        self.logits = torch.full(table, -torch.inf, device=device)
        self.shifted = torch.empty(n * beams * self.words, device=device)
        # Which of the beams wrote what each has at every place: [n, b, max_length].
        self.authors = torch.zeros((n, 1, self.max_length), dtype=torch.long, device=device)
        # What is written, and what is to be added to its logit at every later step, so that the
        # guess gives way to the log frequency: both [n, b, max_length].
        self.written = torch.full((n, 1, self.max_length), -1, device=device)
        self.gap = torch.zeros((n, 1, self.max_length), device=device)

    def step(self, ids: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Feed the last ids, long [rows]; the log probabilities, float32, and ids of the `count`
        likeliest next tokens, both [rows, count], best first."""
        rows = len(ids)
        if self.guess is not None:
            self._cover(self.guess, ids.view(self.inputs, -1))
        hidden = self.t5.decoder.embed_tokens(ids)  # [rows, d_model]
        bias = self._own_bias(rows)
        end = self.length * self.beams
        old, new = slice(end + self.beams), slice(end, end + self.beams)
        for block, (keys, values), cross in zip(self.blocks, self.past, self.cross, strict=True):
            layer, attention = block.layer[0], block.layer[0].SelfAttention
            normed = layer.layer_norm(hidden)
            keys[:, :, new] = self._by_input(attention.k(normed))  # the first step's: for all beams
            values[:, :, new] = self._by_input(attention.v(normed))
            query = self._by_input(attention.q(normed))
            hidden = hidden + self._attend(
                attention, query, keys[:, :, old], values[:, :, old], bias
            )

            layer, attention = block.layer[1], block.layer[1].EncDecAttention
            query = self._by_input(attention.q(layer.layer_norm(hidden)))
            hidden = hidden + self._attend(attention, query, *cross, self.mask[:, None, None, :])

            layer = block.layer[2]
            hidden = hidden + layer.DenseReluDense(layer.layer_norm(hidden))
        self.length += 1
        return self._likeliest(scaled(self.t5, self.t5.decoder.final_layer_norm(hidden)), count)

    def reorder(self, parents: Tensor) -> None:
        """Let each beam go on from another of its input: parents, long [n, b]."""
        index = parents[:, :, None].expand(-1, -1, self.max_length)
        self.authors = self.authors.gather(1, index)
        self.written = self.written.gather(1, index)
        self.gap = self.gap.gather(1, index)

    def keep(self, inputs: Tensor) -> None:
        """Go on with these inputs, long [any], alone."""
        self.inputs, end = len(inputs), self.length * self.beams
        for caches in self.past:
            for cache in caches:
                cache[: self.inputs, :, :end] = cache[inputs, :, :end]
        self.past = [(keys[: self.inputs], values[: self.inputs]) for keys, values in self.past]
        self.cross = [(keys[inputs], values[inputs]) for keys, values in self.cross]
        self.mask, self.authors = self.mask[inputs], self.authors[inputs]
        self.written, self.gap = self.written[inputs], self.gap[inputs]
        if self.guess is not None:
            self.guess = self.guess._replace(logits=self.guess.logits[inputs])

    def _cover(self, guess: Guess, last: Tensor) -> None:
        """Note the last tokens, long [n, b]. Each counts where it is written first, or a repeated
        word would be corrected twice."""
        t = self.length
        known = (self.written[:, :, :t] == last[:, :, None]).any(2)
        self.written[:, :, t] = last
        self.gap[:, :, t] = (guess.log_frequency[last] - guess.logits.gather(1, last)) * ~known

    def _own_bias(self, rows: int) -> Tensor:
        """The bias of self-attention, which lets each beam see what it wrote alone: broadcast to
        [n, h, b, (t + 1) * b]."""
        t, device = self.length, self.mask.device
        self.authors[:, :, t] = torch.arange(rows // self.inputs, device=device)
        own = self.authors[:, :, : t + 1, None] == torch.arange(self.beams, device=device)
        bias: Tensor = self.position_bias[:, t, : t + 1].repeat_interleave(self.beams, 1)[
            None, :, None
        ]
        return bias.masked_fill(~own.flatten(2)[:, None], torch.finfo(bias.dtype).min)

    def _attend(
        self, attention: Any, query: Tensor, keys: Tensor, values: Tensor, bias: Tensor
    ) -> Tensor:
        """What an attention adds to its rows: [rows, d_model] for a query [n, h, b, d] on keys and
        values [n, h, any, d]. T5 does not scale its products."""
        mixed = F.scaled_dot_product_attention(query, keys, values, attn_mask=bias, scale=1.0)
        made: Tensor = attention.o(mixed.transpose(1, 2).flatten(0, 1).flatten(1))
        return made

    def _likeliest(self, hidden: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """The best tokens of decoder states [rows, d_model]; see :meth:`step`."""
        rows, first = len(hidden), 0
        totals, maxima = [], []  # of each block of words: log sum exp [rows], maxima [rows, GROUPS]
        for i, block in enumerate(self.head):
            made = block(hidden)  # [rows, words of the block]
            logits = self.logits[:rows, i, : made.shape[1]]
            if self.guess is None:
                logits.copy_(made)
            else:
                self._add_guess(self.guess, made, first, logits)
            maxima.append(self.logits[:rows, i].view(rows, -1, GROUPS).amax(1))
            highest = maxima[-1].amax(1)  # [rows]
            shifted = self.shifted[: logits.numel()].view(rows, -1)
            torch.sub(logits, highest[:, None], out=shifted)
            totals.append(shifted.exp_().sum(1).log_() + highest)
            first += made.shape[1]
        # The best `count` words are in the `count` groups with the best maxima.
        count_groups = min(count, len(self.head) * GROUPS)
        groups = torch.cat(maxima, 1).topk(count_groups, sorted=False)[1]
        members = torch.arange(0, self.words, GROUPS, device=hidden.device)
        places = (groups // GROUPS * self.words + groups % GROUPS)[:, :, None] + members
        places = places.flatten(1)  # [rows, words of these groups]
        top, chosen = self.logits[:rows].flatten(1).gather(1, places).topk(count)
        return top - torch.stack(totals).logsumexp(0)[:, None], places.gather(1, chosen)

    def _add_guess(self, guess: Guess, made: Tensor, first: int, logits: Tensor) -> None:
        """Fill `logits` with those made, [rows, words], of the words from `first` on, plus the
        guess and what coverage adds to it."""
        words = made.shape[1]
        by_input = (self.inputs, -1, words)
        part = guess.logits[:, None, first : first + words]
        torch.add(made.view(by_input), part, out=logits.view(by_input))
        place = self.written[:, :, : self.length].flatten(0, 1) - first
        inside = (place >= 0) & (place < words)
        gap = self.gap[:, :, : self.length].flatten(0, 1)
        logits.scatter_add_(1, place * inside, gap * inside)

    def _by_input(self, states: Tensor) -> Tensor:
        """[rows, h * d] to [n, h, b, d]"""
        return self._split_heads(states.view(self.inputs, -1, states.shape[-1]))

    def _split_heads(self, states: Tensor) -> Tensor:
        """[n, any, h * d] to [n, h, any, d]"""
        split: Tensor = states.unflatten(2, (self.heads, -1))
        return split.transpose(1, 2)


def scaled(t5: Any, hidden: Tensor) -> Tensor:
    """Decoder states, [..., d_model], as the output words read them: T5 scales them down where
    those are the input words."""
    return hidden * t5.config.d_model**-0.5 if t5.config.scale_decoder_outputs else hidden
