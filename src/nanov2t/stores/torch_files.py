"""What torch.save writes."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from nanov2t.core.errors import UserError
from nanov2t.stores.base import Fetched, Store, check_shape, file_fingerprint, pick

if TYPE_CHECKING:
    import torch


class TorchStore(Store):
    """A tensor [n, dim], alone or in a dict; nothing that could run code is opened."""

    suffixes = (".pt", ".pth")
    forms = ("x.pt#KEY",)

    def __init__(self, where: str, key: str, ids: str | None):
        self.path = Path(where)
        tensors = self._load()
        self.key = pick(where, key, tensors)
        name = f"{where}#{self.key}" if self.key else where
        tensor = tensors[self.key]
        check_shape(name, tensor.shape)
        kind = str(tensor.dtype).removeprefix("torch.")
        self.describe(name, kind, len(tensor), file_fingerprint(self.path))

    def fetch(self, start: int, stop: int) -> Fetched:
        tensor = self._load()[self.key]
        return range(start, stop), tensor[start:stop].detach().float().numpy()

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
        named = found.items() if isinstance(found, dict) else [("", found)]
        return {str(name): value for name, value in named if isinstance(value, torch.Tensor)}
