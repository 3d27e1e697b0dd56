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
from nanov2t.embedders.base import Embedder, EmbedderInfo

MASKED = -30000.0  # added to masked logits; representable in bfloat16 and float16


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

    @property
    def special(self) -> list[int]:
        return [self.cls, self.sep, self.pad]


@dataclass(frozen=True)
class NetworkShape:
    """The shape of a network; saved as its config.json."""

    trunk: TrunkConfig
    dim: int  # dimension of the vectors
    embedder: EmbedderInfo
    max_tokens: int  # longest text it was trained on
    kind: str


class Layer(nn.Module):
    """A post-norm transformer layer (Devlin et al. 2019). Attention is written out because the
    backward pass of PyTorch's fused attention takes three times as long on CPUs."""

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
    """A layer's keys and values so far, [n, heads, t, width] each. All rows may share a beginning,
    `begun` [1, heads, s, width], which is kept once and comes first in masks."""

    def __init__(self, begun: tuple[Tensor, Tensor] | None = None):
        self.begun = begun
        self.kept: tuple[Tensor, Tensor] | None = None

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        """Add keys and values and attend to all so far; the arguments are [n, heads, t, width], and
        the queries are scaled."""
        if self.kept is not None:
            key, value = torch.cat([self.kept[0], key], 2), torch.cat([self.kept[1], value], 2)
        self.kept = key, value
        logits = query @ key.mT
        if self.begun is not None:
            logits = torch.cat([_by_head(query, self.begun[0].mT), logits], -1)
        if mask is not None:
            logits = logits + mask
        shares = logits.softmax(-1)
        own = shares[..., -key.shape[2] :]
        if self.begun is None:
            return own @ value
        return _by_head(shares[..., : -key.shape[2]], self.begun[1]) + own @ value

    def select(self, rows: Tensor) -> None:
        """Keep, repeat or reorder rows, long [m]."""
        if self.kept is not None:
            self.kept = self.kept[0][rows], self.kept[1][rows]

    def joined(self) -> tuple[Tensor, Tensor]:
        """Keys and values [1, heads, t, width] of the shared beginning and the first row."""
        assert self.begun is not None and self.kept is not None
        key, value = (
            torch.cat([begun, kept[:1]], 2)
            for begun, kept in zip(self.begun, self.kept, strict=True)
        )
        return key, value


def _by_head(rows: Tensor, matrices: Tensor) -> Tensor:
    """Rows [n, heads, t, a] times matrices [1, heads, a, b], in one product a head."""
    made: Tensor = rows.transpose(0, 1).flatten(1, 2) @ matrices[0]
    return made.view(len(made), len(rows), -1, made.shape[-1]).transpose(0, 1)


class Trunk(nn.Module):
    """Embeddings and layers."""

    words: Tensor
    """float [vocabulary, hidden], the embedder's word embeddings; not in the state dict."""

    def __init__(self, config: TrunkConfig):
        super().__init__()
        self.config = config
        words = torch.zeros(config.vocabulary, config.hidden)
        self.register_buffer("words", words, persistent=False)
        self.places = nn.Parameter(torch.zeros(config.positions, config.hidden))
        self.norm = nn.LayerNorm(config.hidden, eps=config.eps)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))

    def embed(self, ids: Tensor, first: int | Tensor = 0) -> Tensor:
        """Input states [n, t, hidden] of ids [n, t] that begin at place `first` of their texts, or
        of ids [n, 1] at places long [n, 1]."""
        places = slice(first, first + ids.shape[1]) if isinstance(first, int) else first
        states: Tensor = self.norm(F.embedding(ids, self.words) + self.places[places])
        return states

    def forward(
        self, x: Tensor, mask: Tensor | None, caches: Sequence[Cache] | None = None
    ) -> Tensor:
        """Input states [n, t, hidden] through all layers; see :class:`Layer`."""
        for i, layer in enumerate(self.layers):
            x = layer(x, mask, caches[i] if caches else None)
        return x

    def begin(self, x: Tensor) -> list[Cache]:
        """Caches of all layers that have read input states [n, t, hidden] without a mask."""
        caches = [Cache() for _ in self.layers]
        self(x, None, caches)
        return caches

    def read_words(self, embedder: Embedder) -> None:
        """Take the embedder's word embeddings."""
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
            attention, after = theirs.attention.self, theirs.attention.output
            qkv = (attention.query, attention.key, attention.value)
            ours.qkv.weight.copy_(torch.cat([part.weight for part in qkv]))
            ours.qkv.bias.copy_(torch.cat([part.bias for part in qkv]))
            ours.out.load_state_dict(after.dense.state_dict())
            ours.attention_norm.load_state_dict(after.LayerNorm.state_dict())
            ours.up.load_state_dict(theirs.intermediate.dense.state_dict())
            ours.down.load_state_dict(theirs.output.dense.state_dict())
            ours.norm.load_state_dict(theirs.output.LayerNorm.state_dict())


def bert_of(embedder: Embedder) -> Any:
    """The BERT inside an embedder; a UserError if there is none."""
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
