"""A user's function as an embedder, and what the vectors of an unknown embedder show."""

from collections.abc import Callable, Sequence

import numpy as np

from nanov2t.core.errors import UserError, first_line
from nanov2t.core.files import digest
from nanov2t.embedders.base import Embedder, EmbedderInfo

MAX_TOKENS = 8192  # not known; inverters write far less
PROBES = (
    "The cat sat down, 42 times.",
    "the cat sat down, 42 times.",
    "the cat sat down , 42 times .",
    "the cät sat dówn , 42 times .",
)
"""Each differs from the one before: in case, then in blanks, then in accents."""
EmbeddingFunction = Callable[[list[str]], np.ndarray]  # from texts to vectors, float [n, dim]


def probe(name: str, embed: Callable[[Sequence[str]], np.ndarray]) -> tuple[int, bool, bool]:
    """Embed :data:`PROBES`. Returns the dimension, whether vectors have unit length, and whether
    case is lost. A UserError if a vector is missing, zero or not finite."""
    vectors, count = np.asarray(embed(PROBES)), len(PROBES)
    if vectors.ndim != 2 or len(vectors) != count:
        said = f"gave {vectors.dtype} of shape {vectors.shape} for {count} texts"
        raise UserError(f"embedder {name}: {said}, not ({count}, dim)")
    lengths = np.linalg.norm(vectors, axis=1)
    if not (np.isfinite(lengths) & (lengths > 0)).all():
        raise UserError(f"embedder {name}: gave a vector that is zero or not finite")
    same = np.abs(vectors[0] - vectors[1]).max() < 1e-6 * lengths[0]
    return vectors.shape[1], bool((np.abs(lengths - 1) < 1e-3).all()), bool(same)


class FunctionEmbedder(Embedder):
    """A user's function from texts to vectors. A UserError if it fails."""

    def __init__(self, function: EmbeddingFunction, name: str = ""):
        self.function = function
        kind = type(function).__name__
        parts = (getattr(function, part, kind) for part in ("__module__", "__qualname__"))
        self._name = name or ":".join(map(str, parts))
        dim, normalized, lowercase = probe(self._name, self.encode)
        identity = digest(f"function {self._name} {dim}")
        self.info = EmbedderInfo(self._name, dim, MAX_TOKENS, normalized, lowercase, identity)

    def normalize(self, text: str) -> str:
        return (text.lower() if self.info.lowercase else text).strip()

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        if not texts:
            return np.zeros((0, self.dim), np.float32)
        try:
            return np.asarray(self.function(list(texts)), np.float32)
        except Exception as error:
            reason = f"{type(error).__name__}: {first_line(error)}"
            raise UserError(f"embedder {self._name}: {reason}") from error
