"""The number format that a device multiplies fastest."""

from __future__ import annotations

import torch


def search_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where it is multiplied faster than float32. What the generators write in it is
    judged by the embedder in full precision."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    # Processors with avx512_fp16 leave bfloat16 to AMX, which a virtual machine may hide: without
    # it, half the speed.
    cpu = torch.cpu.get_capabilities()
    fast = cpu.get("amx_bf16") or (cpu.get("avx512_bf16") and not cpu.get("avx512_fp16"))
    return torch.bfloat16 if fast else torch.float32
