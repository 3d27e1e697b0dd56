"""Linear layers and number formats as a CPU multiplies them fastest."""

import copy
import itertools
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

M = TypeVar("M", bound=nn.Module)
WORDS = 2048  # outputs of a vocabulary-sized layer made at a time: as many as a CPU's cache holds


def search_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the device multiplies it faster than float32, else float32."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    # Processors with avx512_fp16 leave bfloat16 to AMX and are half as fast without it, and a
    # virtual machine may hide AMX.
    cpu = torch.cpu.get_capabilities()
    fast = cpu.get("amx_bf16") or (cpu.get("avx512_bf16") and not cpu.get("avx512_fp16"))
    return torch.bfloat16 if fast and packs_bfloat16() else torch.float32


def packs_bfloat16() -> bool:
    """Whether oneDNN multiplies packed bfloat16 here; ONEDNN_MAX_CPU_ISA may forbid it."""
    available = torch.backends.mkldnn.is_available()
    return available and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def padded_rows(rows: int) -> int:
    """The next multiple of 8, or from 129 rows on of 16, 32 or 64: oneDNN compiles and caches a
    product, half a MiB, for each number of rows."""
    step = min(max(8, 1 << (rows - 1).bit_length() >> 4), 64)
    return -(-rows // step) * step


class PackedLinear(nn.Module):
    """A linear layer whose weight [out, in] is stored in oneDNN's own layout. Its output for a row
    does not depend, to the last bit, on the other rows of the batch."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None):
        super().__init__()
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight.detach())
        self.bias = bias

    def forward(self, states: Tensor) -> Tensor:
        flat = states.reshape(-1, states.shape[-1])
        rows = len(flat)
        if (padding := padded_rows(rows) - rows) > 0:
            flat = F.pad(flat, (0, 0, 0, padding))
        multiply = torch.ops.mkldnn._linear_pointwise
        made: Tensor = multiply(flat, self.weight, self.bias, "none", [], "")
        return made[:rows].view(*states.shape[:-1], made.shape[1])


class PackedWords(nn.ModuleList):
    """A layer with a vocabulary of outputs, computed `WORDS` at a time."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None):
        biases = bias.split(WORDS) if bias is not None else itertools.repeat(None)
        super().__init__(map(PackedLinear, weight.split(WORDS), biases))
        self.out_features = len(weight)

    def forward(self, states: Tensor) -> Tensor:
        made = states.new_empty(*states.shape[:-1], self.out_features)
        for layer, part in zip(self, made.split(WORDS, -1), strict=True):
            part.copy_(layer(states))
        return made


def packed(model: M) -> M:
    """A copy of a model with packed linear layers, or the model itself if oneDNN cannot help."""
    weight, plain = next(model.parameters()), torch.backends.mkldnn.is_available()
    fits = {torch.float32: plain, torch.bfloat16: packs_bfloat16()}.get(weight.dtype, False)
    if weight.device.type != "cpu" or not fits:
        return model
    result = copy.deepcopy(model, {id(x): x for x in (*model.parameters(), *model.buffers())})
    for name, module in list(result.named_modules()):
        if type(module) is nn.Linear:
            kind = PackedWords if module.out_features > 4 * WORDS else PackedLinear
            result.set_submodule(name, kind(module.weight, module.bias))
    return result
