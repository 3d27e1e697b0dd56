"""The settings of networks that look inside an embedder, declared once; free of torch as those of
:mod:`nanov2t.train.config`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from nanov2t.core.errors import UserError
from nanov2t.pretrained import DEFAULT
from nanov2t.train.config import RunConfig, StepConfig, seconds


@dataclass
class TextConfig:
    """The texts to train on: crops, whole sentences and made-up lines."""

    train: str = ""
    """Training text: a .txt (one passage a line), .jsonl or .parquet file, also .gz or .xz, or the
    name or folder of a `datasets` data set."""
    dev: str = ""
    """Text for the dev figures, in the same forms; empty: the dev split of `train`."""
    min_tokens: int = 4
    """Shortest crop, in the embedder's tokens, special tokens not counted."""
    max_tokens: int = 32
    """Longest text."""
    lengths: list[int] = field(default_factory=lambda: [4, 6, 8, 12, 16, 16, 24, 32])
    """Half of the steps have texts of one of these lengths; the other half, of any."""
    sentences: float = 0.25
    """Share of the texts that begin with a sentence, and end with one where there is room."""
    lines: float = 0.12
    """Share of the texts that are made up: names, telephone numbers, passwords and the like."""
    noise: float = 0.0
    """Standard deviation of Gaussian noise that is added to every number of the vectors of texts,
    drawn afresh for every text; where the embedder's vectors have unit length, so have the noisy
    ones. Drafts and dev figures are without it."""
    cache: Path | None = None
    """Where token ids are cached; by default ~/.cache/nanov2t."""


@dataclass
class NetworkSteps(StepConfig):
    """Batches, steps and the learning rate."""

    tokens: int = 2048
    """Tokens of a step over all processes; how many texts that are depends on their length."""
    steps: int = 20_000
    head_lr: float = 2.0
    """Factor on the rate of all weights that do not start as the embedder's."""
    beta2: float = 0.98
    decay: Literal["constant", "linear"] = "linear"


@dataclass
class NetworkConfig(RunConfig):
    """What the trainings of these networks have in common."""

    embedder: str = "minilm"
    """`minilm`, or the name or folder of a BERT-like Sentence Transformers model that pools by the
    mean."""
    dictionary: str = DEFAULT
    """What `nanov2t study` made of the embedder: its folder, or an inverter's; by default the
    bundled inverter's, of minilm."""
    init: str = ""
    """A network to go on from, also an exported one, in place of the embedder's weights: its
    folder, or a training run's or an inverter's, such as `minilm-exact`."""
    data: TextConfig = field(default_factory=TextConfig)
    optim: NetworkSteps = field(default_factory=NetworkSteps)
    eval_limit: int = 128
    """Dev texts."""

    def __post_init__(self) -> None:
        for name in ("shard", "compile"):
            if getattr(self, name):
                raise UserError(f"{name} is for T5s")
        for name in ("sentences", "lines"):
            _share(f"data.{name}", getattr(self.data, name))
        if self.data.sentences + self.data.lines > 1:
            raise UserError("data.sentences and data.lines are shares: together at most 1")
        if self.data.noise < 0:
            raise UserError(f"data.noise must be at least 0, not {self.data.noise}")
        lengths = [self.data.min_tokens, *self.data.lengths]
        if not self.data.lengths or not 1 <= min(lengths) <= max(lengths) <= self.data.max_tokens:
            raise UserError(
                "data.min_tokens and all data.lengths must lie between 1 and data.max_tokens "
                f"({self.data.max_tokens})"
            )
        for name in ("tokens", "steps"):
            if getattr(self.optim, name) < 1:
                raise UserError(f"optim.{name} must be at least 1")
        seconds(self.budget)


@dataclass
class PrefixRecipe(NetworkConfig):
    """The settings of a prefix language model's training."""

    network: Literal["prefix_lm"] = "prefix_lm"
    """What is trained: vector to text."""
    out: Path = Path("runs/prefix")


@dataclass
class EditDrafts:
    """The drafts that an edit network learns to mend."""

    hypothesizer: str = ""
    """The prefix language model that writes some of them, named as `init` is; empty: all are
    texts with errors put in."""
    share: float = 0.15
    """Share of the drafts that it writes."""
    going_on: float = 0.85
    """Share of the steps whose drafts the network then edits, for it to learn from in the next
    step."""
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
        _share("drafts.share", self.drafts.share)
        _share("drafts.going_on", self.drafts.going_on)


def _share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise UserError(f"{name} must lie between 0 and 1, not {value}")
