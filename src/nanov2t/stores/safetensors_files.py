"""Safetensors files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nanov2t.stores.base import Source, array_source, pick


def read_safetensors(path: Path, key: str, ids: str | None) -> Source:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        name = pick(str(path), key, file.keys())
        shape = file.get_slice(name).get_shape()
        kind = str(file.get_slice(name)[:1].dtype).removeprefix("torch.")

    def get(a: int, b: int) -> np.ndarray:
        with safe_open(path, "pt") as file:
            return file.get_slice(name)[a:b].float().numpy()

    return array_source(f"{path}#{name}", shape, kind, path, get)
