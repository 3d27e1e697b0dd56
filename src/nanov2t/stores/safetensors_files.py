"""Safetensors files."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from safetensors import safe_open

from nanov2t.stores.arrays import ArrayStore, Shapes


class SafetensorsStore(ArrayStore):
    """Tensors; read by torch, since numpy has no bfloat16."""

    suffixes = (".safetensors",)
    forms = ("x.safetensors#KEY",)

    def shapes(self) -> Shapes:
        with safe_open(self.path, "pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            return {
                name: (tuple(tensor.get_shape()), str(tensor[:0].dtype).removeprefix("torch."))
                for name, tensor in slices.items()
                if tensor.get_shape()
            }

    def read_arrays(self, names: Sequence[str], rows: slice) -> list[np.ndarray]:
        with safe_open(self.path, "pt") as file:
            return [file.get_slice(name)[rows].float().numpy() for name in names]
