"""What the papers' recipe costs: operations of an example, counted, and GPU hours, computed.

python benchmarks/costs.py

PyTorch counts the operations of the matrix products while an untrained T5-base passes over two
random examples, forward and, in training, backward. The hours are for a GPU at a share of its peak.
Which share training reaches is not measured here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
import tyro
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import T5Config, T5EncoderModel

from nanov2t.recipes import load_config
from nanov2t.t5.checkpoints import GeneratorConfig
from nanov2t.t5.generator import Generator
from nanov2t.train.config import T5Recipe

CONFIGS = Path(__file__).parents[1] / "configs"
T5_BASE = {
    "d_model": 768,
    "d_kv": 64,
    "d_ff": 3072,
    "num_layers": 12,
    "num_heads": 12,
    "decoder_start_token_id": 0,
}
"""google-t5/t5-base, also the transformer in GTR-base."""
DIM = 768
ROWS = 2


@dataclass
class Costs:
    """The costs of both stages of configs/gtr_nq32_*.yaml."""

    passages: int = 5_000_000
    peak: float = 989.4
    """TFLOP/s of a GPU. The default is the data sheet's for an H100 SXM, dense bfloat16."""
    shares: list[float] = field(default_factory=lambda: [1.0, 0.4, 0.2])
    """Shares of the peak."""
    reported: float = 90
    """Reported hours of stage 1 on 8 GPUs, to compute their share of the peak."""

    def run(self) -> None:
        stages = [_recipe("gtr_nq32_stage1"), _recipe("gtr_nq32_stage2")]
        length = stages[0].data.max_tokens + 1
        embed = _flops(Embedder(), length)
        guess, first, second = (
            _flops(Training(stage, train), length)
            for stage, train in ((stages[0], False), (stages[0], True), (stages[1], True))
        )
        rows = {
            "texts embedded, once": (embed, 1),
            "stage 1": (first, stages[0].optim.epochs),
            "drafts written and embedded, once": (guess + embed, 1),
            "stage 2": (second, stages[1].optim.epochs),
        }
        heads = [f"{n} GPU at {share:.0%}, hours" for share in self.shares for n in (1, 8)]
        print("| | GFLOP an example | passes |", " | ".join(heads), "|")
        print("|---" * (3 + len(heads)) + "|")
        for name, (flops, epochs) in rows.items():
            hours = [
                flops * epochs * self.passages / (self.peak * 1e12 * share * n) / 3600
                for share in self.shares
                for n in (1, 8)
            ]
            cells = [f"{flops / 1e9:.1f}", f"{epochs:g}", *(f"{h:,.2f}" for h in hours)]
            print(f"| {name} |", " | ".join(cells), "|")
        whole = first * stages[0].optim.epochs * self.passages
        share = whole / (self.reported * 3600 * 8 * self.peak * 1e12)
        print(f"stage 1 in {self.reported:g} hours on 8: {share:.1%} of their peak")


class Embedder(nn.Module):
    """GTR-base's transformer and its dense layer."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = T5EncoderModel(T5Config(**T5_BASE))
        self.dense = nn.Linear(DIM, DIM, bias=False)

    def forward(self, ids: torch.Tensor, vectors: torch.Tensor) -> None:
        with torch.no_grad():
            self.dense(self.encoder(ids).last_hidden_state.mean(1))


class Training(nn.Module):
    """A pass of a recipe's generator: a training step, or one that writes as many tokens."""

    def __init__(self, recipe: T5Recipe, train: bool):
        super().__init__()
        self.corrects, self.trains = recipe.drafts.share == 1, train
        shape = GeneratorConfig(
            t5=T5Config(**T5_BASE).to_diff_dict(),
            dim=DIM,
            pseudo_tokens=recipe.model.pseudo_tokens,
            layer_norm=recipe.model.layer_norm,
            hypothesizes=not self.corrects,
            corrects=self.corrects,
        )
        self.generator = Generator(shape)

    def forward(self, ids: torch.Tensor, vectors: torch.Tensor) -> None:
        draft = (vectors, ids, torch.ones_like(ids)) if self.corrects else ()
        with torch.set_grad_enabled(self.trains):
            loss = self.generator(vectors, *draft, labels=ids).loss
        if self.trains:
            loss.backward()


def _recipe(name: str) -> T5Recipe:
    config = load_config(CONFIGS / f"{name}.yaml")
    assert isinstance(config, T5Recipe)
    return config


def _flops(model: nn.Module, length: int) -> float:
    """Operations of an example of `length` tokens."""
    ids = torch.randint(100, 30_000, (ROWS, length))
    with FlopCounterMode(display=False) as counter:
        model(ids, torch.randn(ROWS, DIM))
    return counter.get_total_flops() / ROWS


if __name__ == "__main__":
    tyro.cli(Costs).run()
