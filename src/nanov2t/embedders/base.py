"""What an embedder is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import torch


@dataclass(frozen=True)
class EmbedderInfo:
    """What inversion depends on in an embedder; recorded in every cache and checkpoint."""

    name: str
    dim: int
    max_tokens: int
    """Tokens after which the embedder cuts a text off."""
    normalized: bool
    """Whether its vectors have unit length."""
    lowercase: bool
    """Whether it sees only lower case, so that case cannot be recovered."""
    fingerprint: str
    """A hash of its weights, tokenizer and pooling, and of the settings below."""
    prompt: str = ""
    """What it puts in front of every text."""
    pools_prompt: bool = True
    """Whether the prompt's tokens are pooled with the text's."""
    truncate_dim: int | None = None
    """The dimensions that are kept, where there were more."""


class Embedder:
    """What makes vectors of texts.

    Attributes:
        info: the properties that go into every cache and checkpoint.
        model: the Sentence Transformers model; None if the embedder runs elsewhere.
        tokenizer: its own fast tokenizer; None likewise.
        has_states: whether its vectors come from the mean of states that :meth:`states` shows.
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
        """The text as the embedder sees it, surrounding blanks removed."""
        return text.strip()

    def unseen(self, text: str) -> int:
        """How many tokens of a text the embedder reads as unknown; 0 where it does not say."""
        return 0

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts: float32 [n, dim]. The order of the texts and their number never change a
        vector's meaning."""
        raise NotImplementedError

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """The embedder's own token ids of texts, special tokens and its prompt among them, cut off
        where it cuts them off."""
        raise NotImplementedError

    def reads(self, tokenizer: Any) -> bool:
        """Whether :meth:`encode_ids` takes token ids of `tokenizer`, and gives the vectors that
        :meth:`encode` gives of their text."""
        return False

    def framed(self, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids and mask, long [n, t], with the special tokens and the prompt that the model
        expects around them, cut off where it cuts them off."""
        raise NotImplementedError

    def encode_ids(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Embed token ids of a shared vocabulary: long [n, t] and their mask, without special
        tokens and without a prompt, to float32 [n, dim] on the model's device."""
        raise NotImplementedError

    def states(self, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """The last hidden states of texts, float32 [n, t, d], and which of them are averaged, bool
        [n, t], special tokens among them, on the model's device. What :meth:`of_mean` makes of
        their mean is the vector."""
        raise NotImplementedError

    def states_by_length(
        self, texts: Sequence[str]
    ) -> Iterator[tuple[list[int], torch.Tensor, torch.Tensor]]:
        """As :meth:`states`, for searches: texts of one length at a time, so that nothing is
        padded, in the number format that the device multiplies fastest. Yields their places among
        `texts`, their ids, long [m, t], and their states [m, t, d]."""
        raise NotImplementedError

    def states_of_ids(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Last hidden states [n, t, d] of token ids, long [n, t], with special tokens, padded, in
        the number format that the device multiplies fastest."""
        raise NotImplementedError

    def of_mean(self, means: torch.Tensor) -> torch.Tensor:
        """What the embedder makes of mean states, float32 [n, d]: vectors, float32 [n, dim]."""
        raise NotImplementedError
