"""Linear layers as a CPU multiplies them fastest."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nanov2t.fast.numbers import packs_bfloat16

M = TypeVar("M", bound=nn.Module)

WORDS = 2048
"""Outputs of a layer over the vocabulary that a CPU makes at a time: as many as its cache holds."""


def padded_rows(rows: int) -> int:
    """The next multiple of 8, of 16 from 129 on, of 32 from 257 on, of 64 from 513 on.

    oneDNN compiles a product for every number of rows it meets and caches up to about 1,000 of
    them, half a MiB each: a long search would meet them all.
    """
    step = min(max(8, 1 << (rows - 1).bit_length() >> 4), 64)
    return -(-rows // step) * step


class PackedLinear(nn.Module):
    """A linear layer, its weight [out, in] copied once into the layout that oneDNN multiplies by.

    What it makes of a row does not depend, to the last bit, on the rows that come with it.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None):
        super().__init__()
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight.detach())
        self.bias = bias

    def forward(self, states: Tensor) -> Tensor:
        flat = states.reshape(-1, states.shape[-1])
        rows, padded = len(flat), padded_rows(len(flat))
        if padded > rows:
            flat = F.pad(flat, (0, 0, 0, padded - rows))
        made: Tensor = torch.ops.mkldnn._linear_pointwise(
            flat, self.weight, self.bias, "none", [], ""
        )
        return made[:rows].view(*states.shape[:-1], made.shape[1])


class PackedWords(nn.ModuleList):
    """A layer of very many outputs, `WORDS` of them at a time."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None):
        biases = bias.split(WORDS) if bias is not None else itertools.repeat(None)
        super().__init__(map(PackedLinear, weight.split(WORDS), biases))
        self.out_features = len(weight)

    def forward(self, states: Tensor) -> Tensor:
        made = states.new_empty(*states.shape[:-1], self.out_features)
        for layer, part in zip(self, made.split(WORDS, -1), strict=True):
            part.copy_(layer(states))
        return made


def output_words(head: nn.Module) -> Sequence[Callable[[Tensor], Tensor]]:
    """A generator's output layer, packed or not, as functions from states [rows, d_model] to the
    logits of `WORDS` words each; in one piece if it is small or not on a CPU."""
    if isinstance(head, PackedWords):
        return list(head)
    if isinstance(head, nn.Linear) and head.weight.device.type == "cpu":
        return [partial(F.linear, weight=block) for block in head.weight.split(WORDS)]
    return [head]


def packed(model: M) -> M:
    """A copy of a model for inference alone, its linear layers packed; the rest is shared with it.
    The model itself where oneDNN has nothing to offer."""
    weight = next(model.parameters())
    if weight.dtype == torch.bfloat16:
        fits = packs_bfloat16()
    else:
        fits = weight.dtype == torch.float32 and torch.backends.mkldnn.is_available()
    if weight.device.type != "cpu" or not fits:
        return model
    result = copy.deepcopy(model, {id(x): x for x in (*model.parameters(), *model.buffers())})
    for name, module in list(result.named_modules()):
        if type(module) is nn.Linear:
            kind = PackedWords if module.out_features > 4 * WORDS else PackedLinear
            result.set_submodule(name, kind(module.weight, module.bias))
    return result
