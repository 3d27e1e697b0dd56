"""The shape of a generator, and the settings of its training. Free of torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from nanov2t.core.errors import UserError
from nanov2t.embedders.base import EmbedderInfo
from nanov2t.train.config import DataConfig, RunConfig, StepConfig, check_counts, check_shares


@dataclass(frozen=True)
class GeneratorConfig:
    """The shape of a Generator; saved as its config.json."""

    t5: dict[str, Any]  # a transformers T5Config as a dictionary
    dim: int  # dimension of the vectors it inverts
    pseudo_tokens: int = 16  # encoder positions that one projected vector fills
    projector_width: int = 0  # hidden width of the projectors; 0 is the T5's d_model
    projector_dropout: float = 0.0
    vector_scale: float = 1.0  # factor on the vectors before they are projected
    layer_norm: bool = True  # normalise the whole encoder input
    hypothesizes: bool = True  # can write from the vector alone
    corrects: bool = False  # can rewrite a draft
    feedback: bool = True
    """Sees the vectors of drafts. Without, it sees the target's in the place of each."""
    sep_token_id: int = 1
    max_tokens: int = 32  # longest text it writes, in its own tokens, special tokens not counted
    reads_written: bool = False
    """As in vec2text's loop, read drafts as they were written, behind the masked start token, and
    write a text of `max_tokens` without a closing token."""
    embedder: EmbedderInfo | None = None

    @property
    def max_length(self) -> int:
        """Tokens it writes at most, with the start token and, if it fits, the closing one."""
        return self.max_tokens + (1 if self.reads_written else 2)


@dataclass
class T5Data(DataConfig):
    """The text to train on, and how it is cut."""

    crop: Literal["random", "start"] = "random"
    """`random`: crops start at random words, drawn afresh every epoch, and are embedded as training
    goes. `start`: the first `max_tokens` of every passage, embedded once and cached."""
    short_share: float = 0.2
    """Share of the random crops that get a length between `min_tokens` and `max_tokens`."""


@dataclass
class ModelConfig:
    """The generator to train."""

    t5: str = "google-t5/t5-base"
    """A T5 by name or folder, or `scratch` for one of the sizes below."""
    tokenizer: Literal["t5", "embedder"] = "t5"
    """Whose vocabulary it writes in; `embedder` needs t5=scratch."""
    d_model: int = 384
    d_ff: int = 1024
    d_kv: int = 64
    heads: int = 6
    layers: int = 3
    """Layers of the encoder, and as many of the decoder."""
    pseudo_tokens: int = 16
    """Encoder positions that one vector is projected onto."""
    dropout: float = 0.0
    """In the T5 and in the projectors."""
    vector_scale: float = 1.0
    """Factor on the vectors before they are projected; for a T5 from scratch, the root of their
    dimension."""
    layer_norm: bool = True
    """Normalise the encoder input; nanoV2T's stage 1 does not, its stage 2 does."""


@dataclass
class DraftConfig:
    """The drafts of stage 2."""

    share: int = 0
    """0 trains a hypothesizer (stage 1), 1 a corrector (stage 2)."""
    hypothesizer: str = ""
    """Folder of the stage-1 generator, which writes a draft of every passage to the run folder."""
    files: str = ""
    """Folder of `nanov2t draft` or nanoV2T with train.hyps.jsonl and dev.hyps.jsonl, in place of
    `hypothesizer`."""
    feedback: bool = True
    """Whether the corrector sees the vectors of its drafts; without is the papers' ablation."""


@dataclass
class T5Steps(StepConfig):
    """Batches, epochs and the learning rate."""

    batch: int = 4096
    """Global batch: examples per step over all processes and accumulated micro-batches."""
    micro_batch: int = 512
    """Examples that pass through the model at a time, per process."""
    epochs: float = 1.0


@dataclass
class T5Recipe(RunConfig):
    """The settings of a generator's training."""

    network: Literal["t5"] = "t5"
    """What is trained. Recipes of `prefix_lm` and `edit_network` have other settings."""
    data: T5Data = field(default_factory=T5Data)
    model: ModelConfig = field(default_factory=ModelConfig)
    drafts: DraftConfig = field(default_factory=DraftConfig)
    optim: T5Steps = field(default_factory=T5Steps)

    def __post_init__(self) -> None:
        super().__post_init__()
        drafts, optim, model = self.drafts, self.optim, self.model
        check_counts({"optim.batch": optim.batch, "optim.micro_batch": optim.micro_batch})
        check_shares({"data.short_share": self.data.short_share})
        if drafts.share not in (0, 1):
            raise UserError(f"drafts.share must be 0 (stage 1) or 1 (stage 2), not {drafts.share}")
        if drafts.files:
            drafts.hypothesizer = ""
        if drafts.share and not (drafts.files or drafts.hypothesizer):
            raise UserError("drafts.share=1 needs drafts.hypothesizer or drafts.files")
        if drafts.share and self.data.crop != "start":
            raise UserError("drafts.share=1 needs data.crop=start")
        if model.tokenizer == "embedder" and model.t5 != "scratch" and not self.init:
            raise UserError("model.tokenizer=embedder needs model.t5=scratch")
