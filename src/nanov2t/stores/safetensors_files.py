"""Safetensors files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors import safe_open

from nanov2t.stores.base import Fetched, Store, check_shape, file_fingerprint, pick


class SafetensorsStore(Store):
    """A tensor [n, dim]."""

    suffixes = (".safetensors",)
    forms = ("x.safetensors#KEY",)

    def __init__(self, where: str, key: str, ids: str | None):
        self.path = Path(where)
        # Read by torch, since numpy has no bfloat16.
        with safe_open(self.path, "pt") as file:
            self.key = pick(where, key, file.keys())
            tensor = file.get_slice(self.key)
            shape = tensor.get_shape()
            check_shape(f"{where}#{self.key}", shape)
            kind = str(tensor[:1].dtype).removeprefix("torch.")
        self.describe(f"{where}#{self.key}", kind, shape[0], file_fingerprint(self.path))

    def fetch(self, start: int, stop: int) -> Fetched:
        with safe_open(self.path, "pt") as file:
            vectors: np.ndarray = file.get_slice(self.key)[start:stop].float().numpy()
        return range(start, stop), vectors
