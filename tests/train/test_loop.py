"""The loop trains any model: here one that is no generator, a linear guess of a text's words."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

from nanov2t.train.config import OptimConfig, RunConfig
from nanov2t.train.loop import run, start
from nanov2t.train.task import MicroBatch


class Output(NamedTuple):
    loss: torch.Tensor


class WordGuess(nn.Module):
    """Which words a text holds, from its vector."""

    def __init__(self, dim, vocabulary):
        super().__init__()
        self.linear = nn.Linear(dim, vocabulary)

    def forward(self, vectors, words):
        return Output(F.binary_cross_entropy_with_logits(self.linear(vectors), words))


class Guessing:
    """The task: half of the texts in each of two micro-batches, in an order that it draws as it
    goes and therefore has to keep."""

    steps = 12

    def __init__(self, minilm, passages, killed_at=None):
        rows = minilm.tokenizer(passages, add_special_tokens=False)["input_ids"]
        self.words = torch.zeros(len(rows), len(minilm.tokenizer))
        for i, row in enumerate(rows):
            self.words[i, row] = 1
        self.vectors = torch.from_numpy(minilm.encode(passages))
        self.order, self.killed_at, self.begun = torch.arange(len(rows)), killed_at, 0

    def seen(self, step):
        return step * len(self.order)

    def begin(self):
        self.begun += 1

    def micro_batches(self, step, current):
        if step == self.killed_at:
            raise KeyboardInterrupt
        self.order = self.order[torch.randperm(len(self.order))]
        for rows in self.order.chunk(2):
            weight = torch.tensor(len(rows) / len(self.order))
            yield MicroBatch({"vectors": self.vectors[rows], "words": self.words[rows]}, weight)

    def state(self):
        return {"order": self.order}

    def load_state(self, state):
        self.order = state["order"]

    @torch.no_grad()
    def dev(self, model):
        return {"loss": float(model(self.vectors, self.words).loss)}

    def save(self, model, folder):
        folder.mkdir()
        save_file(model.state_dict(), folder / "model.safetensors")


def trained(task, out):
    optim = OptimConfig(batch=len(task.order), lr=1e-2)
    config = RunConfig(out=out, optim=optim, precision="fp32", save_every=5)
    accelerator = start(config)
    model = WordGuess(task.vectors.shape[1], task.words.shape[1])
    return load_file(run(task, model, config, accelerator) / "model.safetensors")


def test_another_model_is_trained_and_resumed(minilm, passages, tmp_path):
    undisturbed = Guessing(minilm, passages)
    expected = trained(undisturbed, tmp_path / "undisturbed")
    assert undisturbed.begun == 1
    untrained = F.binary_cross_entropy_with_logits(torch.zeros(1), torch.zeros(1))
    model = WordGuess(384, len(minilm.tokenizer))
    model.load_state_dict(expected)
    assert undisturbed.dev(model)["loss"] < 0.9 * untrained

    with pytest.raises(KeyboardInterrupt):
        trained(Guessing(minilm, passages, killed_at=8), tmp_path / "killed")
    resumed = Guessing(minilm, passages)
    weights = trained(resumed, tmp_path / "killed")
    assert resumed.begun == 0
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
