"""Transformer layers that start as those of a BERT-like embedder.

The prefix language model and the edit network read the embedder's vocabulary and begin with its
weights. The word embeddings stay the embedder's own: they are neither trained, which would be most
of a step on a CPU, nor saved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nanov2t.core.errors import UserError
from nanov2t.embedders.base import Embedder

MASKED = -30000.0
"""Added to masked logits; representable in bfloat16 and float16."""


@dataclass(frozen=True)
class TrunkConfig:
    """The shape of a BERT-like embedder, and the ids of its special tokens."""

    vocabulary: int
    hidden: int
    heads: int
    feed_forward: int
    layers: int
    positions: int
    eps: float
    cls: int
    sep: int
    pad: int


class Layer(nn.Module):
    """One post-norm transformer layer (Devlin et al. 2019). Attention is written out because on
    CPUs the backward pass of PyTorch's fused attention costs three times as much."""

    def __init__(self, config: TrunkConfig):
        super().__init__()
        width = config.hidden
        self.heads = config.heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.attention_norm = nn.LayerNorm(width, eps=config.eps)
        self.up = nn.Linear(width, config.feed_forward)
        self.down = nn.Linear(config.feed_forward, width)
        self.norm = nn.LayerNorm(width, eps=config.eps)

    def forward(self, x: Tensor, mask: Tensor | None, cache: Cache | None = None) -> Tensor:
        """States [n, t, hidden] to the same. `mask` [n or 1, 1, t or 1, keys] is added to the
        logits; with a cache the keys are those of all calls so far."""
        n, t, width = x.shape
        # [3, n, heads, t, width / heads]
        query, key, value = self.qkv(x).view(n, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        query = query * query.shape[-1] ** -0.5
        mixed = (cache or Cache()).attend(query, key, value, mask)
        x = self.attention_norm(x + self.out(mixed.transpose(1, 2).reshape(n, t, width)))
        wide = F.gelu(self.up(x))
        states: Tensor = self.norm(x + self.down(wide))
        return states


class Cache:
    """Keys and values of a layer so far, [n, heads, t, width]."""

    def __init__(self) -> None:
        self.key: Tensor | None = None
        self.value: Tensor | None = None

    def extend(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        if self.key is not None and self.value is not None:
            key, value = torch.cat([self.key, key], 2), torch.cat([self.value, value], 2)
        self.key, self.value = key, value
        return key, value

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        """Add keys and values, then attend to all of them with scaled queries; all are [n, heads,
        t, width]."""
        key, value = self.extend(key, value)
        logits = query @ key.transpose(-1, -2)
        if mask is not None:
            logits = logits + mask
        mixed: Tensor = logits.softmax(-1) @ value
        return mixed

    def select(self, rows: Tensor) -> None:
        """Keep, repeat or reorder rows, long [m]."""
        if self.key is not None and self.value is not None:
            self.key, self.value = self.key[rows], self.value[rows]


class Branches(Cache):
    """A cache whose rows share a beginning, whose keys and values [1, heads, s, width] are kept
    once."""

    def __init__(self, begun: Cache):
        super().__init__()
        assert begun.key is not None and begun.value is not None
        self.begun = begun.key[0], begun.value[0]

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        """See :meth:`Cache.attend`; the mask covers the beginning's keys, then the row's own."""
        key, value = self.extend(key, value)
        first_key, first_value = self.begun
        n, t = query.shape[0], query.shape[2]

        def all_rows(x: Tensor) -> Tensor:  # [heads, n t, ...]
            return x.transpose(0, 1).flatten(1, 2)

        def each_row(x: Tensor) -> Tensor:  # [n, heads, t, ...]
            rows: Tensor = x.unflatten(1, (n, t))
            return rows.transpose(0, 1)

        first: Tensor = each_row(all_rows(query) @ first_key.transpose(-1, -2))
        logits = torch.cat([first, query @ key.transpose(-1, -2)], -1)
        if mask is not None:
            logits = logits + mask
        first, own = logits.softmax(-1).split([first_key.shape[1], key.shape[2]], -1)
        mixed: Tensor = each_row(all_rows(first) @ first_value) + own @ value
        return mixed

    def joined(self) -> Cache:
        """The first row as a plain cache."""
        seen = Cache()
        assert self.key is not None and self.value is not None
        first_key, first_value = self.begun
        seen.extend(first_key[None], first_value[None])
        seen.extend(self.key[:1], self.value[:1])
        return seen


class Trunk(nn.Module):
    """Embeddings and layers.

    Attributes:
        words: float [vocabulary, hidden], the embedder's word embeddings, which are not in the
            state dict.
    """

    words: Tensor

    def __init__(self, config: TrunkConfig):
        super().__init__()
        self.config = config
        empty = torch.zeros(config.vocabulary, config.hidden)
        self.register_buffer("words", empty, persistent=False)
        self.places = nn.Parameter(torch.zeros(config.positions, config.hidden))
        self.norm = nn.LayerNorm(config.hidden, eps=config.eps)
        layers = [Layer(config) for _ in range(config.layers)]
        self.layers = nn.ModuleList(layers)

    def embed(self, ids: Tensor, first: int = 0) -> Tensor:
        """Input states [n, t, hidden] of ids [n, t] that begin at place `first` of their texts."""
        words = F.embedding(ids, self.words)
        states: Tensor = self.norm(words + self.places[first : first + ids.shape[1]])
        return states

    def forward(
        self, x: Tensor, mask: Tensor | None, caches: Sequence[Cache] | None = None
    ) -> Tensor:
        """Input states [n, t, hidden] through all layers; see :meth:`Layer.forward`."""
        for i, layer in enumerate(self.layers):
            x = layer(x, mask, caches[i] if caches else None)
        return x

    def read_words(self, embedder: Embedder) -> None:
        self.words = bert_of(embedder).embeddings.word_embeddings.weight.detach().to(self.words)

    @torch.no_grad()
    def start_from(self, embedder: Embedder) -> None:
        """Copy all weights from the embedder's transformer."""
        bert = bert_of(embedder)
        self.read_words(embedder)
        places, types = bert.embeddings.position_embeddings, bert.embeddings.token_type_embeddings
        self.places.copy_(places.weight[: len(self.places)] + types.weight[0])
        self.norm.load_state_dict(bert.embeddings.LayerNorm.state_dict())
        for ours, theirs in zip(self.layers, bert.encoder.layer, strict=True):
            assert isinstance(ours, Layer)
            attention = theirs.attention.self
            qkv = (attention.query, attention.key, attention.value)
            ours.qkv.weight.copy_(torch.cat([part.weight for part in qkv]))
            ours.qkv.bias.copy_(torch.cat([part.bias for part in qkv]))
            for mine, its in (
                (ours.out, theirs.attention.output.dense),
                (ours.attention_norm, theirs.attention.output.LayerNorm),
                (ours.up, theirs.intermediate.dense),
                (ours.down, theirs.output.dense),
                (ours.norm, theirs.output.LayerNorm),
            ):
                mine.load_state_dict(its.state_dict())


def bert_of(embedder: Embedder) -> Any:
    """The BERT inside an embedder.

    Raises:
        UserError: there is none.
    """
    model = embedder.model[0].model if embedder.model is not None else None
    if model is None or model.config.model_type != "bert":
        raise UserError(f"{embedder.name}: not a BERT, whose weights the networks start from")
    return model


def trunk_config(embedder: Embedder, positions: int = 128) -> TrunkConfig:
    """The shape of the embedder's transformer, for at most `positions` tokens and prefixes."""
    bert, tokenizer = bert_of(embedder).config, embedder.tokenizer
    return TrunkConfig(
        vocabulary=bert.vocab_size,
        hidden=bert.hidden_size,
        heads=bert.num_attention_heads,
        feed_forward=bert.intermediate_size,
        layers=bert.num_hidden_layers,
        positions=min(positions, bert.max_position_embeddings),
        eps=bert.layer_norm_eps,
        cls=tokenizer.cls_token_id,
        sep=tokenizer.sep_token_id,
        pad=tokenizer.pad_token_id,
    )


def attention_mask(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """What :class:`Layer` adds to its logits: 0 where mask [n, t] (or [n, t, t]) is true."""
    mask = mask[:, None, None] if mask.ndim == 2 else mask[:, None]
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, MASKED)
