"""What torch.save writes."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nanov2t.core.errors import UserError
from nanov2t.stores.arrays import ArrayStore, Shapes

if TYPE_CHECKING:
    import torch


class TorchStore(ArrayStore):
    """A tensor, alone or in dicts and lists; nothing that could run code is opened."""

    suffixes = (".pt", ".pth")
    forms = ("x.pt#KEY",)

    def shapes(self) -> Shapes:
        return {
            name: (tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))
            for name, tensor in self._load().items()
        }

    def read_arrays(self, names: Sequence[str], rows: slice) -> list[np.ndarray]:
        tensors = self._load()
        return [tensors[name][rows].detach().float().numpy() for name in names]

    def _load(self) -> dict[str, torch.Tensor]:
        """The tensors by name; a single one has an empty name."""
        import torch

        # Old files are no archives, which can be mapped, and are read whole.
        mapped = zipfile.is_zipfile(self.path)
        try:
            found = torch.load(self.path, "cpu", weights_only=True, mmap=mapped)
        except pickle.UnpicklingError:
            raise UserError(
                f"{self.path}: a pickle of more than tensors, which may run code and stays closed, "
                "or damaged: save the tensor alone"
            ) from None
        return _tensors(found, "")


def _tensors(value: Any, name: str) -> dict[str, torch.Tensor]:
    """The tensors in nested dicts and lists, by names such as `data.embeddings`."""
    import torch

    if isinstance(value, torch.Tensor):
        return {name: value}
    if isinstance(value, list | tuple):
        value = dict(enumerate(value))
    found: dict[str, torch.Tensor] = {}
    for key, inner in value.items() if isinstance(value, dict) else ():
        found |= _tensors(inner, f"{name}.{key}" if name else str(key))
    return found
