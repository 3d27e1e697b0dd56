"""Settings of a training, declared once: the YAML keys, the flags and their help all come from
here. Free of torch, so that ``nanov2t train --help`` is instant. T5's are in `t5/config.py`."""

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
    """Training text: a .txt (one passage a line), .jsonl or .parquet file, also .gz or .xz, or the
    name or folder of a `datasets` data set."""
    dev: str = ""
    """Text for the dev figures, in the same forms; empty: the dev split of `train`."""
    max_tokens: int = 32
    """Longest text, in tokens, special tokens not counted."""
    min_tokens: int = 4
    """Shortest crop."""
    noise: float = 0.0
    """Standard deviation of Gaussian noise added to every number of the vectors that are learnt
    from, drawn afresh in every step. Vectors of unit length keep it. Dev figures are without."""
    cache: Path | None = None
    """Where token ids and vectors are cached; by default ~/.cache/nanov2t."""


@dataclass
class StepConfig:
    """The learning rate and the optimizer, AdamW."""

    lr: float = 1e-3
    warmup: float = 0.01
    """Share of the steps over which the rate rises from zero."""
    decay: Literal["constant", "linear"] = "constant"
    """What the rate does after the warm-up. `linear` falls to zero at the last step, or at the end
    of the budget."""
    clip: float = 1.0
    """Largest gradient norm."""
    beta2: float = 0.999
    """AdamW's decay of squared gradients."""
    eps: float = 1e-6
    weight_decay: float = 0.0


@dataclass
class RunConfig:
    """What every training has."""

    out: Path = Path("runs/inverter")
    """Run folder: checkpoints, metrics.jsonl, the best model and the last. The same command
    resumes it."""
    embedder: str = "minilm"
    """`minilm`, or the name or folder of a Sentence Transformers model."""
    init: str = ""
    """A network to start from, also an exported one: its folder, a training run's, or an inverter
    that has such a network. Empty: what the other settings say."""
    data: DataConfig = field(default_factory=DataConfig)
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
    """Stop cleanly after this much training time (90s, 9m, 2h). Resumed runs count in."""
    eval_every: int = 1000
    """Steps between dev figures, which are also taken at the end. The model of the lowest dev loss
    is kept as `model`, that of the last step as `last`."""
    eval_limit: int = 200
    """Dev texts."""
    save_every: int = 1000
    """Steps between checkpoints."""
    tracker: Literal["", "wandb", "trackio", "tensorboard"] = ""
    """Also log there, with all settings; metrics.jsonl is always written."""
    name: str = ""
    """Name of the run in the tracker; by default the run folder's."""
    notes: str = ""
    """Notes for the tracker."""

    def __post_init__(self) -> None:
        data = self.data
        if data.noise < 0:
            raise UserError(f"data.noise must be at least 0, not {data.noise}")
        if not 1 <= data.min_tokens <= data.max_tokens:
            raise UserError(
                f"data.min_tokens must lie between 1 and data.max_tokens ({data.max_tokens})"
            )
        seconds(self.budget)


@dataclass
class TextConfig(DataConfig):
    """The texts to train on: crops, whole sentences and made-up lines."""

    lengths: list[int] = field(default_factory=lambda: [4, 6, 8, 12, 16, 16, 24, 32])
    """Half of the steps have texts of one of these lengths; the other half, of any."""
    sentences: float = 0.25
    """Share of the texts that begin with a sentence, and end with one where there is room."""
    lines: float = 0.12
    """Share of the texts that are made up: names, telephone numbers, passwords and the like."""


@dataclass
class NetworkSteps(StepConfig):
    """Batches, steps and the learning rate."""

    tokens: int = 2048
    """Tokens of a step over all processes. How many texts that is depends on their length."""
    steps: int = 20_000
    head_lr: float = 2.0
    """Factor on the rate of all weights that do not start as the embedder's."""
    beta2: float = 0.98
    decay: Literal["constant", "linear"] = "linear"


@dataclass
class NetworkConfig(RunConfig):
    """What the networks that read an embedder's states have in common. The embedder must be
    BERT-like and pool by the mean."""

    dictionary: str = DEFAULT
    """What `nanov2t study` made of the embedder: its folder, or an inverter's. The default is the
    bundled inverter's, for minilm."""
    data: TextConfig = field(default_factory=TextConfig)
    optim: NetworkSteps = field(default_factory=NetworkSteps)
    eval_limit: int = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("shard", "compile"):
            if getattr(self, name):
                raise UserError(f"{name} is for T5s")
        data = self.data
        check_shares({"data.sentences": data.sentences, "data.lines": data.lines})
        if data.sentences + data.lines > 1:
            raise UserError("data.sentences and data.lines are shares: together at most 1")
        if not data.lengths or not 1 <= min(data.lengths) <= max(data.lengths) <= data.max_tokens:
            raise UserError(
                f"data.lengths must lie between 1 and data.max_tokens ({data.max_tokens})"
            )
        check_counts({"optim.tokens": self.optim.tokens, "optim.steps": self.optim.steps})


@dataclass
class PrefixRecipe(NetworkConfig):
    """The settings of a prefix language model's training."""

    network: Literal["prefix_lm"] = "prefix_lm"
    """What is trained: vector to text."""
    out: Path = Path("runs/prefix")


@dataclass
class EditDrafts:
    """The drafts that an edit network learns to correct."""

    hypothesizer: str = ""
    """The prefix language model that writes some of them, named as `init` is. Empty: all drafts are
    texts with errors put in."""
    share: float = 0.15
    """Share of the drafts that it writes."""
    going_on: float = 0.85
    """Share of the steps whose drafts the network then edits, to learn from in the next step."""
    rounds: int = 6
    """Steps at most that learn from drafts of the same texts."""


@dataclass
class EditRecipe(NetworkConfig):
    """The settings of an edit network's training."""

    network: Literal["edit_network"] = "edit_network"
    """What is trained: vector and draft to edits."""
    out: Path = Path("runs/edits")
    drafts: EditDrafts = field(default_factory=EditDrafts)

    def __post_init__(self) -> None:
        super().__post_init__()
        drafts = self.drafts
        check_shares({"drafts.share": drafts.share, "drafts.going_on": drafts.going_on})


def check_shares(shares: dict[str, float]) -> None:
    for name, value in shares.items():
        if not 0 <= value <= 1:
            raise UserError(f"{name} must lie between 0 and 1, not {value}")


def check_counts(counts: dict[str, int]) -> None:
    for name, count in counts.items():
        if count < 1:
            raise UserError(f"{name} must be at least 1, not {count}")


def settings_of(config: RunConfig) -> dict[str, Any]:
    """All settings, as JSON has them."""
    values: dict[str, Any] = json.loads(json.dumps(asdict(config), default=str))
    return values


def seconds(duration: str, option: str = "budget") -> float:
    """Seconds in a duration such as ``90s``, ``9m`` or ``1.5h``; infinite for an empty one.

    Raises:
        UserError: it is no duration; `option` names the setting.
    """
    if not duration:
        return float("inf")
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", duration)
    if not match:
        raise UserError(f"{option} {duration!r} is not a duration (90s, 9m, 2h)")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]]
