"""The interface of embedders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import torch


@dataclass(frozen=True)
class EmbedderInfo:
    """The properties that inversion depends on; recorded in every cache and checkpoint."""

    name: str
    dim: int
    max_tokens: int
    """Most tokens of a text; the rest is cut off."""
    normalized: bool
    """Whether vectors have unit length."""
    lowercase: bool
    """Whether case is lost."""
    fingerprint: str
    """A hash of the weights, tokenizer, pooling and the settings below."""
    prompt: str = ""
    """Put before every text."""
    pools_prompt: bool = True
    """Whether the prompt's tokens are pooled with the text's."""
    truncate_dim: int | None = None
    """Number of dimensions kept, if some are dropped."""


class Embedder:
    """Makes vectors from texts.

    Attributes:
        model: the Sentence Transformers model; None if the embedder runs elsewhere.
        tokenizer: its fast tokenizer, or None likewise.
        has_states: whether vectors come from the mean of the states that :meth:`states` gives.
    """

    info: EmbedderInfo
    model: Any = None
    tokenizer: Any = None
    has_states: bool = False

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
        """The text as the embedder sees it, stripped."""
        return text.strip()

    def unseen(self, text: str) -> int:
        """The number of unknown tokens in a text; 0 if the embedder does not say."""
        return 0

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts: float32 [n, dim]."""
        raise NotImplementedError

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """The embedder's token ids of texts, with special tokens and prompt, cut to its limit."""
        raise NotImplementedError

    def reads(self, tokenizer: Any) -> bool:
        """Whether :meth:`encode_ids` of its ids gives the vectors of :meth:`encode`."""
        return False

    def framed(self, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Add special tokens and prompt to token ids and mask, long [n, t], cut to the limit."""
        raise NotImplementedError

    def encode_ids(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Embed token ids and their mask, long [n, t], without special tokens and prompt: float32
        [n, dim] on the model's device."""
        raise NotImplementedError

    def states(self, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """The last hidden states of texts, float32 [n, t, d], and which of them are averaged, bool
        [n, t], on the model's device. :meth:`of_mean` of their mean is the vector."""
        raise NotImplementedError

    def states_by_length(
        self, texts: Sequence[str]
    ) -> Iterator[tuple[list[int], torch.Tensor, torch.Tensor]]:
        """The states of texts of one length at a time, so that nothing is padded, in the dtype that
        the device multiplies fastest. Yields the texts' indices, their ids, long [m, t], and their
        states [m, t, d]."""
        raise NotImplementedError

    def states_of_ids(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The last hidden states [n, t, d] of padded token ids, long [n, t], with special tokens,
        in the dtype that the device multiplies fastest."""
        raise NotImplementedError

    def of_mean(self, means: torch.Tensor) -> torch.Tensor:
        """The vectors, float32 [n, dim], of mean states, float32 [n, d]."""
        raise NotImplementedError
