"""The loop trains any model: here one that is no generator, a linear guess of a text's words."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch
from safetensors.torch import load_file, save_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from torch import nn
from torch.nn import functional as F

from nanov2t.core.errors import UserError
from nanov2t.train import log, loop
from nanov2t.train.config import RunConfig, StepConfig
from nanov2t.train.loop import evaluate, run, start


class WordGuess(nn.Module):
    """Which words a text holds, from its vector."""

    def __init__(self, dim, vocabulary):
        super().__init__()
        self.linear = nn.Linear(dim, vocabulary)

    def forward(self, vectors, words):
        return F.binary_cross_entropy_with_logits(self.linear(vectors), words)


class Guessing:
    """The task: half of the texts in each of two micro-batches, in an order that it draws as it
    goes and therefore has to keep."""

    def __init__(self, minilm, passages, killed_at=None, held_out=0, steps=12):
        rows = minilm.tokenizer(passages, add_special_tokens=False)["input_ids"]
        self.words = torch.zeros(len(rows), len(minilm.tokenizer))
        for i, row in enumerate(rows):
            self.words[i, row] = 1
        self.vectors = torch.from_numpy(minilm.encode(passages))
        self.order, self.killed_at = torch.arange(held_out, len(rows)), killed_at
        self.dev_rows = slice(held_out or len(rows))
        self.steps, self.parts = steps, 2

    def seen(self, step):
        return step * len(self.order)

    def step(self, model, step, part):
        if step == self.killed_at:
            raise KeyboardInterrupt
        if part == 0:
            self.order = self.order[torch.randperm(len(self.order))]
        rows = self.order.chunk(2)[part]
        return model(self.vectors[rows], self.words[rows]) * len(rows) / len(self.order)

    def state(self):
        return {"order": self.order}

    def load_state(self, state):
        self.order = state["order"]

    @torch.no_grad()
    def dev_nats(self, model):
        yield "loss", float(model(self.vectors[self.dev_rows], self.words[self.dev_rows])), 1

    def measure(self, model):
        return {}

    def save(self, model, folder):
        folder.mkdir(exist_ok=True)
        save_file(model.state_dict(), folder / "model.safetensors")


def trained(task, out, lr=1e-2, precision="fp32", **settings):
    config = RunConfig(
        out=out, optim=StepConfig(lr=lr), precision=precision, save_every=5, **settings
    )
    accelerator = start(config)
    model = WordGuess(task.vectors.shape[1], task.words.shape[1])
    return load_file(run(task, model, config, accelerator) / "model.safetensors")


def test_another_model_is_trained_and_resumed(minilm, passages, tmp_path):
    undisturbed = Guessing(minilm, passages)
    expected = trained(undisturbed, tmp_path / "undisturbed")
    untrained = F.binary_cross_entropy_with_logits(torch.zeros(1), torch.zeros(1))
    model = WordGuess(384, len(minilm.tokenizer))
    model.load_state_dict(expected)
    assert evaluate(undisturbed, model)["loss"] < 0.9 * untrained

    with pytest.raises(KeyboardInterrupt):
        trained(Guessing(minilm, passages, killed_at=8), tmp_path / "killed")
    resumed = Guessing(minilm, passages)
    weights = trained(resumed, tmp_path / "killed")
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


class Telling(WordGuess):
    """Notes whether it runs under autocast, in steps and for dev figures."""

    autocast: ClassVar = {}

    def forward(self, vectors, words):
        self.autocast["step" if self.training else "dev"] = torch.is_autocast_enabled("cpu")
        return super().forward(vectors, words)


@pytest.mark.parametrize("fast", [True, False])
def test_bfloat16_is_for_steps_alone_where_the_processor_has_it(
    minilm, passages, tmp_path, monkeypatch, capsys, fast
):
    dtype = torch.bfloat16 if fast else torch.float32
    monkeypatch.setattr(loop, "search_dtype", lambda device: dtype)
    monkeypatch.setattr(sys.modules[__name__], "WordGuess", Telling)
    trained(Guessing(minilm, passages, steps=2), tmp_path / "run", precision="bf16")
    assert Telling.autocast == {"step": fast, "dev": False}
    assert ("no fast bfloat16 on this processor" in capsys.readouterr().err) is not fast


def test_a_run_without_a_checkpoint_leaves_its_folder_to_other_settings(minilm, passages, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        trained(Guessing(minilm, passages, killed_at=3), tmp_path / "run")
    trained(Guessing(minilm, passages), tmp_path / "run", lr=2e-2)
    with pytest.raises(UserError, match=r"another optim\.lr \(0.02, not 0.01\)"):
        trained(Guessing(minilm, passages), tmp_path / "run")


def test_the_model_of_the_lowest_dev_loss_is_kept_also_by_a_killed_run(minilm, passages, tmp_path):
    """So few texts are soon learnt by heart, to the harm of others; the kill comes between the best
    model and the last."""

    def task(**settings):
        return Guessing(minilm, passages, held_out=30, steps=20, **settings)

    def losses(out):
        found = {}
        for folder in ("model", "last"):
            model = WordGuess(384, len(minilm.tokenizer))
            model.load_state_dict(load_file(out / folder / "model.safetensors"))
            found[folder] = evaluate(task(), model)["loss"]
        return found

    settings = {"lr": 1.5, "eval_every": 2}
    expected = trained(task(), tmp_path / "whole", **settings)
    lines = (tmp_path / "whole" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    taken = [record["dev_loss"] for record in map(json.loads, lines) if "dev_loss" in record]
    assert len(taken) == 10
    assert min(taken) < 0.95 * taken[-1]
    found = losses(tmp_path / "whole")
    assert found["model"] == pytest.approx(min(taken)) and found["last"] == pytest.approx(taken[-1])

    with pytest.raises(KeyboardInterrupt):
        trained(task(killed_at=17), tmp_path / "killed", **settings)
    assert not (tmp_path / "killed" / "last").exists()
    kept = trained(task(), tmp_path / "killed", **settings)
    assert all(torch.equal(kept[name], expected[name]) for name in expected)


def test_a_tracker_gets_name_settings_and_figures(minilm, passages, tmp_path):
    settings = {"tracker": "tensorboard", "name": "a try", "notes": "few texts", "eval_every": 6}
    trained(Guessing(minilm, passages), tmp_path / "run", **settings)
    run, hyperparameters = (
        EventAccumulator(str(path.parent)).Reload()
        for path in sorted((tmp_path / "run").rglob("events.*"), key=lambda p: len(p.parts))
    )
    lines = (tmp_path / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    for name in ("loss", "gradient_norm", "examples_per_second", "dev_loss"):
        logged = [(event.step, event.value) for event in run.Scalars(name)]
        expected = [(r["step"], pytest.approx(r[name])) for r in records if name in r]
        assert logged == expected and logged
    assert records[1]["gradient_norm"] > 0
    [content] = (hyperparameters.SummaryMetadata("_hparams_/session_start_info"),)
    started = HParamsPluginData.FromString(content.plugin_data.content).session_start_info.hparams
    assert started["name"].string_value == "a try" and started["notes"].string_value == "few texts"
    assert started["optim.lr"].number_value == 1e-2


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        ("", "about 0:29:50 left: steps 106 to 1,000, 2.00 s each\n"),
        ("60s", "about 0:00:50 left: steps 106 to 130, 2.00 s each; the budget ends before step"),
    ],
)
def test_how_long_it_will_take_is_said_once_and_shown_in_steps(
    tmp_path, monkeypatch, capsys, budget, said
):
    """Steps of two seconds."""
    clock = SimpleNamespace(monotonic=lambda: clock.now, now=0.0)
    monkeypatch.setattr(log, "time", clock)
    process = SimpleNamespace(
        is_main_process=True, reduce=lambda value, how: value, mixed_precision="bf16"
    )
    config = RunConfig(out=tmp_path, budget=budget)
    shown = log.RunLog(
        config, process, SimpleNamespace(steps=1000, seen=lambda step: 8 * step), 100
    )
    for step in range(101, 121):
        clock.now += 2
        shown.step(step, torch.ones(()), torch.ones(()), 1e-3, clock.now)
    shown.close()
    err = capsys.readouterr().err
    assert err.count("nanov2t: ") == 1 and f"nanov2t: {said}" in err
    end, left = ("130", "0:00:20") if budget else ("1,000", "0:29:20")
    assert f"120 of {end} steps, {left} left" in err
