"""The number format that a device multiplies fastest."""

from __future__ import annotations

import torch


def search_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the device multiplies it faster than float32, else float32."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    # Processors with avx512_fp16 leave bfloat16 to AMX, which a virtual machine may hide: without
    # it, half the speed.
    cpu = torch.cpu.get_capabilities()
    fast = cpu.get("amx_bf16") or (cpu.get("avx512_bf16") and not cpu.get("avx512_fp16"))
    # ONEDNN_MAX_CPU_ISA may keep oneDNN from using what the processor has.
    return torch.bfloat16 if fast and packs_bfloat16() else torch.float32


def packs_bfloat16() -> bool:
    """Whether oneDNN multiplies packed bfloat16 on this processor."""
    available = torch.backends.mkldnn.is_available()
    return available and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
