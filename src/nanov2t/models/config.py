"""The shape of a generator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nanov2t.embedders.base import EmbedderInfo


@dataclass(frozen=True)
class GeneratorConfig:
    """The shape of a Generator; saved as its config.json."""

    t5: dict[str, Any]
    """A transformers T5Config as a dictionary."""
    dim: int
    """Dimension of the vectors it inverts."""
    pseudo_tokens: int = 16
    """Encoder positions that one projected vector fills."""
    projector_width: int = 0
    """Hidden width of the projectors; 0 is the T5's d_model."""
    projector_dropout: float = 0.0
    vector_scale: float = 1.0
    """Factor on the vectors before they are projected."""
    layer_norm: bool = True
    """Normalise the whole encoder input."""
    hypothesizes: bool = True
    """Can write from the vector alone."""
    corrects: bool = False
    """Can rewrite a draft."""
    feedback: bool = True
    """Sees the vectors of drafts; without, the target's stands in the place of each."""
    lexical: bool = False
    """Has a lexical head."""
    sep_token_id: int = 1
    max_tokens: int = 32
    """Longest text it writes, in its own tokens, special tokens not counted."""
    reads_written: bool = False
    """As vec2text's loop has it: drafts are read as they were written, behind the masked start
    token, and a text of `max_tokens` is written without a closing token."""
    embedder: EmbedderInfo | None = None

    @property
    def max_length(self) -> int:
        """Of what it writes: tokens, with the start token and, where there is room, the closing
        one."""
        return self.max_tokens + (1 if self.reads_written else 2)
