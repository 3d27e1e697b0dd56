"""Training of an edit network: to correct a draft, given the vector of its text.

    nanov2t train configs/minilm_exact_edits.yaml

A third of its drafts are texts with errors. It makes the others itself, by edits that it draws in
one step and learns from in the next.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from nanov2t.embedders.base import Embedder
from nanov2t.models.dictionary import Dictionary
from nanov2t.models.edit_network import EditNetwork
from nanov2t.models.networks import save_network
from nanov2t.models.prefix_lm import PrefixLM
from nanov2t.train.config import EditRecipe
from nanov2t.train.corruption import Corruption
from nanov2t.train.data import Embed, Noise, padded
from nanov2t.train.drafts import LONGER as HYPOTHESIS_LONGER
from nanov2t.train.drafts import DraftReader, Drafts, Hypotheses
from nanov2t.train.edit_dev import EditDev
from nanov2t.train.edit_loss import CHILDREN, DRAWS, EditLoss, EditOutput
from nanov2t.train.labels import collate, row_labels
from nanov2t.train.loop import Task, run, start
from nanov2t.train.network import (
    LONGER,
    build_network,
    load_kind,
    load_studied,
    pace,
    part_of,
)
from nanov2t.train.sampled import CandidateSampler
from nanov2t.train.texts import TextSource

NOTHING = -1
"""Pads the saved children."""


def train_edits(config: EditRecipe) -> Path:
    """Train, or resume, the run in ``config.out``; returns the folder of the best network.

    Raises:
        UserError: the run folder holds another run, or an input is missing or does not fit.
    """
    accelerator = start(config)
    embedder, dictionary = load_studied(config, accelerator.device)
    bf16 = accelerator.mixed_precision == "bf16"
    network = build_network(EditNetwork, config, embedder, dictionary).to(accelerator.device)
    network.read_dictionary(dictionary, torch.bfloat16 if bf16 else None)
    task = Editing(config, embedder, dictionary, accelerator)
    return run(task, EditLoss(network), config, accelerator, pace(config))


class Known(NamedTuple):
    """The texts of a step."""

    begun: int
    """The first step with them."""
    mine: list[list[int]]
    """This process's."""
    guides: list[list[int]]
    """The same words in the order that the drafts have."""
    written: list[int]
    """Those whose drafts are hypotheses."""
    every: Tensor
    """long [m], the words of all processes' texts."""
    vectors: Tensor
    """float32 [n, dim], this process's, with noise."""


class Editing(Task[EditLoss]):
    """Drafts and the edits that correct them."""

    def __init__(
        self,
        config: EditRecipe,
        embedder: Embedder,
        dictionary: Dictionary,
        accelerator: Accelerator,
    ):
        self.config, self.device, drafts = config, accelerator.device, config.drafts
        tokenizer = embedder.tokenizer
        self.source = TextSource(config, tokenizer, accelerator, drafts.going_on, drafts.rounds)
        self.pad, self.longest = tokenizer.pad_token_id, config.data.max_tokens + LONGER
        self.embed = Embed(embedder, tokenizer, rough=True)
        self.read = DraftReader(embedder, self.longest)
        self.noise = Noise(config.data.noise, embedder.normalized)
        special = tokenizer.all_special_ids
        self.corruption = Corruption(dictionary, special)
        self.sampler = CandidateSampler(dictionary, special, self.device)
        self.hypotheses = None
        if drafts.hypothesizer:
            path = part_of(drafts.hypothesizer, "hypothesizer")
            model = load_kind(PrefixLM, path, embedder, dictionary)
            self.hypotheses = Hypotheses(model, self.device)
        self.dev = EditDev(config, embedder, dictionary, self.corruption, self.read)
        self.steps, self.parts = config.optim.steps, 1
        self.children: list[list[int]] = []
        """CHILDREN drafts of each of this process's texts of the next step."""
        self._known: Known | None = None

    def seen(self, step: int) -> int:
        return self.source.schedule.examples(step)

    def step(self, model: nn.Module, step: int, part: int) -> Tensor:
        arguments, share = self.arguments(step)
        output: EditOutput = model(**arguments)
        if self.source.schedule.goes_on(step):
            self.children = [row for children in output.children for row in children]
        return output.loss * share

    def arguments(self, step: int) -> tuple[dict[str, Any], float]:
        """What this process gives the model in a step, and its share of the texts."""
        schedule = self.source.schedule
        known = self._texts(step)
        drafts = self._going_on(known) if schedule.round[step] else self._begun(known)
        labels = [
            row_labels(*row)
            for row in zip(
                drafts.rows(),
                known.mine,
                self._generators(3, step),
                known.guides,
                strict=True,
            )
        ]
        # The same in every process, and so not drawn behind what is of its own rows.
        rng = np.random.default_rng([self.config.seed, 4, step])
        size, length = int(schedule.size[step]), int(schedule.length[step])
        arguments: dict[str, Any] = {
            "targets": known.vectors,
            "ids": drafts.ids,
            "states": drafts.states,
            "vectors": drafts.vectors,
            "mask": drafts.mask,
            "labels": collate(labels, drafts.ids.shape[1], self.device),
            "candidates": self.sampler.draw(known.every, rng),
            "places": len(known.mine) * length,
        }
        if schedule.goes_on(step):
            shape = (size, CHILDREN, self.longest + 2, DRAWS)
            noise = rng.random(shape, np.float32)[self.source.mine]
            arguments["noise"] = torch.from_numpy(noise).to(self.device)
        return arguments, len(known.mine) / size

    def state(self) -> dict[str, Tensor]:
        return {"children": padded(self.children, NOTHING)} if self.children else {}

    def load_state(self, state: dict[str, Tensor]) -> None:
        rows = state["children"].tolist() if state else []
        self.children = [[word for word in row if word != NOTHING] for row in rows]

    def dev_nats(self, model: EditLoss) -> Iterator[tuple[str, float, float]]:
        return self.dev.nats(model)

    def measure(self, model: EditLoss) -> dict[str, float]:
        return self.dev.mended(model)

    def save(self, model: EditLoss, folder: Path) -> None:
        save_network(model.network, folder)

    def _texts(self, step: int) -> Known:
        begun = step - int(self.source.schedule.round[step])
        if self._known is None or self._known.begun != begun:
            texts = self.source.at(step)
            mine = texts[self.source.mine]
            guides, written = self._guides(mine, begun)
            every = torch.tensor([word for row in texts for word in row], device=self.device)
            ids = padded(mine, self.pad).to(self.device)
            vectors = self.noise(
                self.embed(ids, (ids != self.pad).long()),
                len(texts),
                self.source.mine,
                [self.config.seed, 5, begun],
            )
            self._known = Known(begun, mine, guides, written, every, vectors)
        return self._known

    def _guides(self, texts: list[list[int]], step: int) -> tuple[list[list[int]], list[int]]:
        share = self.config.drafts.share if self.hypotheses else 0.0
        guides, written = [], []
        for i, (text, rng) in enumerate(zip(texts, self._generators(6, step), strict=True)):
            if rng.random() < share:
                written.append(i)
                guides.append(text)
            else:
                guides.append(self.corruption.reordered(text, rng))
        return guides, written

    def _begun(self, known: Known) -> Drafts:
        rngs = self._generators(2, known.begun)
        rows = [
            self.corruption.draft(text, rng) for text, rng in zip(known.guides, rngs, strict=True)
        ]
        written = known.written
        if self.hypotheses and written:
            steps = self.config.data.max_tokens + HYPOTHESIS_LONGER
            noise = torch.stack([self.hypotheses.noise(steps, rngs[i]) for i in written])
            lengths = torch.tensor([len(known.mine[i]) for i in written], device=self.device)
            drawn = self.hypotheses.draw(known.vectors[written], lengths, noise.to(self.device))
            for i, row in zip(written, drawn, strict=True):
                rows[i] = row
        return self.read(rows)

    def _going_on(self, known: Known) -> Drafts:
        children = self.read(self.children)
        n = len(known.mine)
        targets = known.vectors.repeat_interleave(CHILDREN, 0)
        cosines = (children.vectors * targets).sum(1) / children.vectors.norm(dim=1)
        best = cosines.view(n, CHILDREN).argmax(1)
        return children.pick(torch.arange(n, device=best.device) * CHILDREN + best)

    def _generators(self, purpose: int, step: int) -> list[np.random.Generator]:
        places = range(int(self.source.schedule.size[step]))[self.source.mine]
        return [np.random.default_rng([self.config.seed, purpose, step, i]) for i in places]
