"""Settings of a training: YAML keys, flags and their help. Imports no torch, for a quick help."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from nanov2t.core.errors import UserError
from nanov2t.pretrained import DEFAULT


@dataclass
class DataConfig:
    """The texts to train on."""

    train: str = ""
    """A .txt (one passage a line), .jsonl or .parquet file, also .gz or .xz; or a data set."""
    dev: str = ""  # Text for the dev figures, in the same forms. Default: the dev split of `train`.
    max_tokens: int = 32  # Longest text, in tokens without special tokens.
    min_tokens: int = 4  # Shortest crop.
    noise: float = 0.0
    """Standard deviation of the Gaussian noise on every number of the training vectors."""
    cache: Path | None = None  # Folder for cached token ids and vectors. Default: ~/.cache/nanov2t.


@dataclass
class StepConfig:
    """The learning rate and the optimizer, AdamW."""

    lr: float = 1e-3
    warmup: float = 0.01  # Share of the steps in which the rate rises from zero.
    decay: Literal["constant", "linear"] = "constant"
    """The rate after the warm-up. `linear` falls to zero at the last step or the budget's end."""
    clip: float = 1.0  # Largest gradient norm.
    beta2: float = 0.999  # AdamW's decay of squared gradients.
    eps: float = 1e-6
    weight_decay: float = 0.0


@dataclass
class RunConfig:
    """What every training has."""

    out: Path = Path("runs/inverter")
    """Folder for checkpoints, figures and models. The same command resumes the run."""
    embedder: str = "minilm"  # `minilm`, or the name or folder of a Sentence Transformers model.
    init: str = ""
    """A network to start from: its folder, a run's, or an inverter's. Default: a new one."""
    data: DataConfig = field(default_factory=DataConfig)
    optim: StepConfig = field(default_factory=StepConfig)
    seed: int = 0
    precision: Literal["fp32", "bf16"] = "bf16"
    """Number format of the steps; processors without fast bfloat16 use fp32."""
    compile: bool = False  # torch.compile the model.
    shard: bool = False
    """Split weights, gradients and moments among the processes (FSDP), for very large T5s."""
    budget: str = ""
    """Stop cleanly after this much training time (90s, 9m, 2h), resumed runs included."""
    eval_every: int = 1000
    """Steps between dev figures. `model` is the one with the lowest dev loss, `last` the last."""
    eval_limit: int = 200  # Dev texts.
    save_every: int = 1000  # Steps between checkpoints.
    tracker: Literal["", "wandb", "trackio", "tensorboard"] = ""
    """Log here too. metrics.jsonl is always written."""
    name: str = ""  # Name of the run in the tracker. Default: the run folder's.
    notes: str = ""  # Notes for the tracker.

    def __post_init__(self) -> None:
        if self.data.noise < 0:
            raise UserError(f"data.noise must be at least 0, not {self.data.noise}")
        if not 1 <= self.data.min_tokens <= (most := self.data.max_tokens):
            raise UserError(f"data.min_tokens must lie between 1 and data.max_tokens ({most})")
        seconds(self.budget)


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
    layers: int = 3  # Layers of the encoder, and as many of the decoder.
    pseudo_tokens: int = 16  # Encoder positions that one vector is projected onto.
    dropout: float = 0.0  # In the T5 and in the projectors.
    vector_scale: float = 1.0
    """Factor on the vectors before they are projected; for a T5 from scratch, the root of their
    dimension."""
    layer_norm: bool = True
    """Normalise the encoder input; nanoV2T's stage 1 does not, its stage 2 does."""


@dataclass
class DraftConfig:
    """The drafts of stage 2."""

    share: int = 0  # 0 trains a hypothesizer (stage 1), 1 a corrector (stage 2).
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
    micro_batch: int = 512  # Examples that pass through the model at a time, per process.
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
        drafts, model = self.drafts, self.model
        check_counts(self, "batch", "micro_batch")
        check_shares(data__short_share=self.data.short_share)
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


@dataclass
class TextConfig(DataConfig):
    """The texts to train on: crops, whole sentences and made-up lines."""

    lengths: list[int] = field(default_factory=lambda: [4, 6, 8, 12, 16, 16, 24, 32])
    """Half of the steps have texts of one of these lengths, the others of any length."""
    sentences: float = 0.25
    """Share of the texts that begin at a sentence, and end with one if there is room."""
    lines: float = 0.12  # Share of made-up texts: names, telephone numbers, passwords.


@dataclass
class NetworkSteps(StepConfig):
    """Batches, steps and the learning rate."""

    tokens: int = 2048  # Tokens of a step over all processes.
    steps: int = 20_000
    head_lr: float = 2.0  # Factor on the rate of the weights that do not start as the embedder's.
    beta2: float = 0.98  # AdamW's decay of squared gradients.
    decay: Literal["constant", "linear"] = "linear"


@dataclass
class NetworkConfig(RunConfig):
    """What the networks that look inside an embedder share. It must be BERT-like."""

    dictionary: str = DEFAULT
    """The folder that `nanov2t study` wrote, or an inverter. The default is for minilm."""
    data: TextConfig = field(default_factory=TextConfig)
    optim: NetworkSteps = field(default_factory=NetworkSteps)
    eval_limit: int = 128  # Dev texts.

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.shard or self.compile:
            raise UserError(f"{'shard' if self.shard else 'compile'} is for T5s")
        data, most = self.data, self.data.max_tokens
        both = {"data.sentences + data.lines": data.sentences + data.lines}
        check_shares(data__sentences=data.sentences, data__lines=data.lines, **both)
        if not data.lengths or not 1 <= min(data.lengths) <= max(data.lengths) <= most:
            raise UserError(f"data.lengths must lie between 1 and data.max_tokens ({most})")
        check_counts(self, "tokens", "steps")


@dataclass
class PrefixRecipe(NetworkConfig):
    """The settings of a prefix language model's training."""

    network: Literal["prefix_lm"] = "prefix_lm"  # What is trained: vector to text.
    out: Path = Path("runs/prefix")


@dataclass
class EditDrafts:
    """The drafts that an edit network learns to correct."""

    hypothesizer: str = ""
    """The prefix language model that writes some of them, named as in `init`. Default: none."""
    share: float = 0.15  # Share of the drafts that the hypothesizer writes.
    going_on: float = 0.85
    """Share of the steps whose drafts the network edits, to learn from the result in the next."""
    rounds: int = 6  # Most steps with the same texts.


@dataclass
class EditRecipe(NetworkConfig):
    """The settings of an edit network's training."""

    network: Literal["edit_network"] = "edit_network"  # What is trained: vector and draft to edits.
    out: Path = Path("runs/edits")
    drafts: EditDrafts = field(default_factory=EditDrafts)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_shares(drafts__share=self.drafts.share, drafts__going_on=self.drafts.going_on)


def check_shares(**shares: float) -> None:
    """Raise a UserError unless all lie between 0 and 1; a name's `__` stands for a dot."""
    for name, value in shares.items():
        if not 0 <= value <= 1:
            raise UserError(f"{name.replace('__', '.')} must lie between 0 and 1, not {value}")


def check_counts(config: Any, *names: str) -> None:
    """Raise a UserError unless these settings of `config.optim` are at least 1."""
    for name in names:
        if (count := getattr(config.optim, name)) < 1:
            raise UserError(f"optim.{name} must be at least 1, not {count}")


def settings_of(config: RunConfig) -> dict[str, Any]:
    """All settings, as JSON has them."""
    return dict(json.loads(json.dumps(asdict(config), default=str)))


def seconds(duration: str, option: str = "budget") -> float:
    """Seconds in a duration (``90s``, ``9m``, ``1.5h``); infinity for an empty one. Raises a
    UserError, which names the `option`, for anything else."""
    if not duration:
        return float("inf")
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", duration)
    if not match:
        raise UserError(f"{option} {duration!r} is not a duration (90s, 9m, 2h)")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]]
