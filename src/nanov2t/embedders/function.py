"""A user's function as an embedder."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from nanov2t.core.errors import UserError, first_line
from nanov2t.core.files import digest
from nanov2t.embedders.base import Embedder, EmbedderInfo
from nanov2t.embedders.probes import probe

MAX_TOKENS = 8192
"""Not known; inverters write far less."""

EmbeddingFunction = Callable[[list[str]], np.ndarray]
"""From texts to vectors, float [n, dim]."""


class FunctionEmbedder(Embedder):
    """A function from texts to vectors, under its own name unless another is given.

    Raises:
        UserError: the function fails, or does not give a vector for each text.
    """

    def __init__(self, function: EmbeddingFunction, name: str = ""):
        self.function = function
        name = name or ":".join(
            str(getattr(function, part, type(function).__name__))
            for part in ("__module__", "__qualname__")
        )
        self._name = name
        dim, normalized, lowercase = probe(name, self._call)
        identity = digest(f"function {name} {dim}")
        self.info = EmbedderInfo(name, dim, MAX_TOKENS, normalized, lowercase, identity)

    def normalize(self, text: str) -> str:
        return (text.lower() if self.info.lowercase else text).strip()

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        if not texts:
            return np.zeros((0, self.dim), np.float32)
        return self._call(texts)

    def _call(self, texts: Sequence[str]) -> np.ndarray:
        try:
            return np.asarray(self.function(list(texts)), np.float32)
        except Exception as error:
            reason = f"{type(error).__name__}: {first_line(error)}"
            raise UserError(f"embedder {self._name}: {reason}") from error
