"""Every setting, declared once: the YAML keys, the flags and their help all come from here.

Free of torch, so that ``nanov2t train --help`` is instant.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from nanov2t.core.errors import UserError


@dataclass
class DataConfig:
    """The text to train on, and how it is cut."""

    train: str = ""
    """Training text: a .txt (one passage a line), .jsonl or .parquet file, also .gz or .xz, or the
    name or folder of a `datasets` data set."""
    dev: str = ""
    """Text for the dev figures, in the same forms; empty: the dev split of `train`."""
    max_tokens: int = 32
    """Longest text, in generator tokens, special tokens not counted."""
    crop: Literal["random", "start"] = "random"
    """`random`: crops start at random words, drawn afresh every epoch, and are embedded as training
    goes. `start`: the first `max_tokens` of every passage, embedded once and cached."""
    short_share: float = 0.2
    """Share of the crops that get a length drawn between `min_tokens` and `max_tokens`."""
    min_tokens: int = 4
    """Shortest crop."""
    held_out: float = 0.5
    """Share of the passages that the hypothesizer never trains on; the corrector's drafts come from
    these, so that they are as bad as they will be on unseen text. 0: both train on all."""
    noise: float = 0.0
    """Standard deviation of Gaussian noise that is added to every number of the vectors of texts
    and drafts, drawn afresh in every step; where the embedder's vectors have unit length, so have
    the noisy ones. Dev figures are taken without it."""
    cache: Path | None = None
    """Where token ids and vectors are cached; by default ~/.cache/nanov2t."""


@dataclass
class ModelConfig:
    """The generator to train."""

    t5: str = "google-t5/t5-base"
    """A T5 by name or folder, or `scratch` for one of the sizes below."""
    tokenizer: Literal["t5", "embedder"] = "t5"
    """Whose vocabulary it writes in. `embedder` (needs t5=scratch) lets crops reach the embedder as
    token ids."""
    embedder_words: bool = False
    """Start the word embeddings from the embedder's; needs tokenizer=embedder and d_model equal to
    theirs."""
    d_model: int = 384
    d_ff: int = 1024
    d_kv: int = 64
    heads: int = 6
    layers: int = 3
    """Of the encoder and of the decoder each."""
    pseudo_tokens: int = 16
    """Encoder positions that one vector is projected onto."""
    dropout: float = 0.0
    """In the T5 and in the projectors."""
    vector_scale: float = 1.0
    """Factor on the vectors before they are projected. The root of the dimension gives the elements
    of unit vectors unit variance, without which a model from scratch spends its first thousands of
    steps on growing its projectors."""
    layer_norm: bool = True
    """Normalise the encoder input; the published stage 1 does not, stage 2 does."""
    lexical: bool = False
    """Add a lexical head: a linear guess of the words in the text, added to the decoder's
    logits."""


@dataclass
class DraftConfig:
    """The drafts that a corrector learns from."""

    share: float = 0.0
    """Share of the examples that come with a draft to correct: 0 trains a hypothesizer (stage 1), 1
    a corrector (stage 2), anything between one joint model that is both."""
    hypothesizer: str = ""
    """Folder of the generator that writes the first drafts; empty: the model in training. Where
    data.crop is `start` and `rounds` is 1, they are written once, to the run folder."""
    files: str = ""
    """Folder with train.hyps.jsonl and dev.hyps.jsonl, drafts that `nanov2t draft` or nanoV2T
    wrote; they take the place of `hypothesizer`. Needs data.crop=start."""
    rounds: int = 1
    """Drafts are corrected up to `rounds` - 1 times by the model in training before it learns from
    them."""
    pool: int = 16384
    """Examples drafted at a time; each is trained on once, then the next pool is drafted."""
    feedback: bool = True
    """Whether the corrector sees the vectors of its drafts. False is the papers' ablation without
    feedback: it sees a draft's words alone."""


@dataclass
class StepConfig:
    """The learning rate and the optimizer, AdamW."""

    lr: float = 1e-3
    warmup: float = 0.01
    """Share of the steps over which the rate rises from zero."""
    decay: Literal["constant", "linear"] = "constant"
    """What the rate does after the warm-up; `linear` falls to zero at the last step or at the end
    of the budget."""
    clip: float = 1.0
    """Largest gradient norm."""
    beta2: float = 0.999
    """How slowly AdamW forgets the size of gradients."""
    eps: float = 1e-6
    weight_decay: float = 0.0


@dataclass
class OptimConfig(StepConfig):
    """Batches, epochs and the learning rate."""

    batch: int = 4096
    """Global batch: examples per step over all processes and accumulated micro-batches."""
    micro_batch: int = 512
    """Examples per process that pass through the model at a time."""
    epochs: float = 1.0
    lexical_steps: int = 0
    """First steps in which the lexical head alone is trained."""


@dataclass
class RunConfig:
    """What the training loop itself needs, whatever it trains."""

    out: Path = Path("runs/inverter")
    """Run folder: checkpoints, metrics.jsonl, the best model and the last. The same command
    resumes it."""
    optim: StepConfig = field(default_factory=StepConfig)
    seed: int = 0
    precision: Literal["fp32", "bf16"] = "bf16"
    """Of the steps; float32 on processors without fast bfloat16. The embedder keeps its own."""
    compile: bool = False
    """torch.compile the model."""
    shard: bool = False
    """Share out weights, gradients and moments among the processes (FSDP), for a T5 too large to
    train on one GPU."""
    budget: str = ""
    """Stop cleanly after this much training time, such as 90s, 9m or 2h, resumed runs counted
    in."""
    eval_every: int = 1000
    """Steps between dev figures; they are also taken at the end. The model of the lowest dev loss
    is kept as `model`; beside it, `last` is that of the last step."""
    save_every: int = 1000
    """Steps between checkpoints."""
    tracker: Literal["", "wandb", "trackio", "tensorboard"] = ""
    """Also log there, with all settings; metrics.jsonl is always written."""
    name: str = ""
    """Of the run, for the tracker; by default the run folder's."""
    notes: str = ""
    """What is special about the run, for the tracker."""


@dataclass
class TrainConfig(RunConfig):
    """The settings of a generator's training."""

    network: Literal["t5"] = "t5"
    """What is trained. Other networks (`prefix_lm`, `edit_network`) have other settings: those of
    the recipe that is given."""
    optim: OptimConfig = field(default_factory=OptimConfig)
    embedder: str = "minilm"
    """`minilm`, or the name or folder of a Sentence Transformers model."""
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    drafts: DraftConfig = field(default_factory=DraftConfig)
    init: str = ""
    """Folder of a generator to start from, in place of `model`."""
    eval_limit: int = 200
    """Dev texts that are inverted for the figures."""

    def __post_init__(self) -> None:
        shares = {
            "data.held_out": self.data.held_out,
            "data.short_share": self.data.short_share,
            "drafts.share": self.drafts.share,
        }
        least = {
            "optim.batch": self.optim.batch,
            "optim.micro_batch": self.optim.micro_batch,
            "drafts.rounds": self.drafts.rounds,
            "drafts.pool": self.drafts.pool,
        }
        for name, count in least.items():
            if count < 1:
                raise UserError(f"{name} must be at least 1, not {count}")
        for name, value in shares.items():
            if not 0 <= value <= 1:
                raise UserError(f"{name} must lie between 0 and 1, not {value}")
        if not 1 <= self.data.min_tokens <= self.data.max_tokens:
            raise UserError(
                f"data.min_tokens must lie between 1 and data.max_tokens ({self.data.max_tokens})"
            )
        if self.data.noise < 0:
            raise UserError(f"data.noise must be at least 0, not {self.data.noise}")
        if self.drafts.files:
            self.drafts.hypothesizer = ""
        if self.drafts.files and (self.data.crop != "start" or self.drafts.rounds != 1):
            raise UserError("drafts.files needs data.crop=start and drafts.rounds=1")
        if self.model.tokenizer == "embedder" and self.model.t5 != "scratch" and not self.init:
            raise UserError(
                "model.tokenizer=embedder needs model.t5=scratch: a pretrained T5 has words of "
                "its own"
            )
        seconds(self.budget)


def settings_of(config: RunConfig) -> dict[str, Any]:
    """All settings, as JSON has them."""
    values: dict[str, Any] = json.loads(json.dumps(asdict(config), default=str))
    return values


def seconds(duration: str, option: str = "budget") -> float:
    """Seconds in a duration such as ``90s``, ``9m`` or ``1.5h``; infinite for an empty one."""
    if not duration:
        return float("inf")
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", duration)
    if not match:
        raise UserError(f"{option} {duration!r} is not a duration such as 90s, 9m or 2h")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]]
