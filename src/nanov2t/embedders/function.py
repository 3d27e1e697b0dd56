"""A function of the user's own as an embedder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np

from nanov2t.core.errors import UserError, first_line
from nanov2t.embedders.base import Embedder, EmbedderInfo
from nanov2t.embedders.probes import probe

MAX_TOKENS = 8192
"""Inverters write far less."""

EmbeddingFunction = Callable[[list[str]], np.ndarray]
"""Texts to vectors, float [n, dim]."""


class FunctionEmbedder(Embedder):
    """What a function makes of texts.

    Args:
        function: list of str to float [n, dim].
        name: by default its module and name.

    Raises:
        UserError: the function raises an error, or gives something else than a vector a text.
    """

    def __init__(self, function: EmbeddingFunction, name: str = ""):
        self.function = function
        name = name or ":".join(
            str(getattr(function, part, type(function).__name__))
            for part in ("__module__", "__qualname__")
        )
        self._name = name
        dim, normalized, lowercase = probe(name, self._call)
        identity = hashlib.sha256(f"function {name} {dim}".encode()).hexdigest()[:16]
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
