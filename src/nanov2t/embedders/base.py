"""The interface of embedders, and their settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from nanov2t.core.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import torch


@dataclass(frozen=True)
class EmbedderSettings:
    """Settings of the user; None leaves the model's own."""

    prompt: str | None = None  # put before every text, such as ``passage: ``; empty for none
    prompt_name: str | None = None
    truncate_dim: int | None = None  # number of first dimensions to keep (Matryoshka embeddings)
    max_tokens: int | None = None  # most tokens of a text, with special tokens and the prompt

    def __post_init__(self) -> None:
        if self.prompt is not None and self.prompt_name is not None:
            raise UserError("embedder: give a prompt or a prompt_name, not both")
        for name in ("truncate_dim", "max_tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"embedder: {name} must be at least 1, not {value}")

    def given(self) -> dict[str, Any]:
        """The settings that are not None."""
        return {k: v for k, v in dataclasses.asdict(self).items() if v is not None}

    def write(self, name: str) -> str:
        """The spec of an embedder with these settings, for ``load_embedder``."""
        pairs = [f"{key}={quote(str(value), safe=':/,')}" for key, value in self.given().items()]
        return f"{name}?{'&'.join(pairs)}" if pairs else name


UNCHANGED = EmbedderSettings()


@dataclass(frozen=True)
class EmbedderInfo:
    """What inversion depends on; recorded in every cache and checkpoint."""

    name: str
    dim: int
    max_tokens: int
    normalized: bool  # whether vectors have unit length
    lowercase: bool  # whether case is lost
    fingerprint: str  # a hash of the weights, tokenizer, pooling and the settings below
    prompt: str = ""
    pools_prompt: bool = True  # whether the prompt's tokens are pooled with the text's
    truncate_dim: int | None = None  # number of dimensions kept, if some are dropped


class Embedder:
    """Makes vectors from texts. Embedders that run elsewhere lack the methods from
    :meth:`tokenize` on. Token ids and masks are long [n, t]."""

    info: EmbedderInfo
    model: Any = None  # of Sentence Transformers; None if the embedder runs elsewhere
    tokenizer: Any = None  # its fast tokenizer, or None likewise
    has_states: bool = False  # whether vectors come from the mean of what `states` gives

    @property
    def name(self) -> str:
        return self.info.name

    @property
    def dim(self) -> int:
        return self.info.dim

    @property
    def max_tokens(self) -> int:
        return self.info.max_tokens

    @property
    def normalized(self) -> bool:
        return self.info.normalized

    def normalize(self, text: str) -> str:
        """The text as the embedder sees it (MiniLM: lower case, no accents), stripped."""
        return text.strip()

    def unseen(self, text: str) -> int:
        """The number of unknown tokens in a text; 0 if the embedder does not say."""
        return 0

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts: float32 [n, dim]."""
        raise NotImplementedError

    def reads(self, tokenizer: Any) -> bool:
        """Whether :meth:`encode_ids` of its ids gives the vectors of :meth:`encode`."""
        return False

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """The token ids of texts, with special tokens and prompt, cut to the limit."""
        raise NotImplementedError

    def framed(self, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Add special tokens and prompt to token ids and their mask, cut to the limit."""
        raise NotImplementedError

    def encode_ids(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Embed token ids without special tokens and prompt: float32 [n, dim]."""
        raise NotImplementedError

    def states(self, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """The last hidden states of texts, float32 [n, t, d], and which are averaged, bool [n,
        t]."""
        raise NotImplementedError

    def states_by_length(
        self, texts: Sequence[str]
    ) -> Iterator[tuple[list[int], torch.Tensor, torch.Tensor]]:
        """The states of texts of one length at a time, so that nothing is padded, in the fastest
        dtype. Yields the texts' indices, their ids [m, t] and their states [m, t, d]."""
        raise NotImplementedError

    def states_of_ids(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The last hidden states [n, t, d] of ids with special tokens, in the fastest dtype."""
        raise NotImplementedError

    def of_mean(self, means: torch.Tensor) -> torch.Tensor:
        """The vectors, float32 [n, dim], of mean states, float32 [n, d]."""
        raise NotImplementedError
