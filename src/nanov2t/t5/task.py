"""What both stages of the training share: crops of text, their vectors, dev texts and figures."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn import functional as F

from nanov2t.core.errors import UserError
from nanov2t.core.passages import read_rows
from nanov2t.embedders.base import Embedder
from nanov2t.embedders.text import reference
from nanov2t.evaluation.metrics import summarize
from nanov2t.inverter import Inverter
from nanov2t.t5.config import T5Recipe
from nanov2t.t5.generator import Generator
from nanov2t.train.data import Corpus, Crops, Embed, Noise
from nanov2t.train.loop import Task

ROWS = 64
"""Dev texts that pass through the model at a time."""
TEXTS, DRAFTS = 0, 1
"""Kinds of vectors; each gets noise of its own."""


class Batch(NamedTuple):
    vectors: Tensor
    """float32 [n, dim]"""
    labels: Tensor
    """long [n, t], with closing tokens, -100 beyond"""
    passages: np.ndarray
    """int [n], of the corpus"""


class T5Task(Task[Generator]):
    """The crops of every step and this process's share of them.

    Attributes:
        dev_texts, dev_vectors: texts that no run trains on, and their vectors [n, dim].
    """

    def __init__(
        self,
        config: T5Recipe,
        generator: Generator,
        tokenizer: Any,
        embedder: Embedder,
        accelerator: Accelerator,
    ):
        data, optim = config.data, config.optim
        self.config, self.tokenizer, self.embedder = config, tokenizer, embedder
        self.accelerator, self.eos = accelerator, generator.eos_token_id
        own = len(range(accelerator.process_index, optim.batch, accelerator.num_processes))
        if not own:
            raise UserError(f"optim.batch {optim.batch} is too small for so many processes")
        self.parts = -(-own // optim.micro_batch)
        self.vectors = None
        with accelerator.main_process_first():
            self.corpus = Corpus.load(data.train, tokenizer, data.cache)
            if data.crop == "start":
                self.vectors = self.corpus.start_vectors(embedder, tokenizer, data.max_tokens)
        self.crops = Crops(
            self.corpus,
            tokenizer,
            config.seed,
            data.max_tokens,
            data.min_tokens,
            data.short_share,
            start=data.crop == "start",
        )
        self.embed = Embed(embedder, tokenizer)
        self.noise = Noise(data.noise, embedder.normalized)
        self.steps = max(1, round(optim.epochs * len(self.crops) / optim.batch))
        self.dev_source = data.dev or data.train
        rows = (row for row in enumerate(read_rows(self.dev_source, "dev")) if row[1])
        self.dev_rows = dict(itertools.islice(rows, config.eval_limit))
        if not self.dev_rows:
            raise UserError(f"{self.dev_source}: holds no text")
        self.dev_texts = [
            reference(text, tokenizer, embedder, data.max_tokens) for text in self.dev_rows.values()
        ]
        self.dev_vectors = embedder.encode(self.dev_texts)

    def seen(self, step: int) -> int:
        return step * self.config.optim.batch

    def batch(self, step: int, part: int) -> Batch:
        """The micro-batch `part` of this process. Vectors are made in the embedder's own precision,
        so this must stay outside of autocast."""
        share, device = self._share(part), self.accelerator.device
        ids, mask, passages = self.crops.ids(step, self.config.optim.batch, share)
        ids, mask = ids.to(device), mask.to(device)
        if self.vectors is not None:
            vectors = torch.from_numpy(self.vectors[passages]).to(device)
        else:
            vectors = self.embed(ids, mask)
        return Batch(self.noisy(vectors, TEXTS, step, part), self._labels(ids, mask), passages)

    def noisy(self, vectors: Tensor, kind: int, step: int, part: int) -> Tensor:
        """Vectors [n, dim] of a micro-batch with the recipe's noise."""
        size, key = self.config.optim.batch, [self.config.seed, 2, step, kind]
        return self.noise(vectors, size, self._share(part), key)

    def loss(self, model: nn.Module, step: int, batch: Batch, **draft: Tensor) -> Tensor:
        """The share of a micro-batch in the step's loss, the mean over the tokens of all."""
        given = {"target_embeddings": batch.vectors, "labels": batch.labels} | draft
        size = self.config.optim.batch
        tokens = int(self.crops.draw(step, size)[2].sum()) + size
        mean: Tensor = model(**given, keep_logits=False).loss
        return mean * (batch.labels.ge(0).sum() / tokens)

    def dev_nats(self, model: Generator) -> Iterator[tuple[str, float, float]]:
        """Nats and tokens of the dev texts."""
        rows = self.tokenizer(
            self.dev_texts, add_special_tokens=False, padding=True, return_tensors="pt"
        )
        labels = self._labels(rows["input_ids"], rows["attention_mask"]).to(model.device)
        given = [torch.from_numpy(self.dev_vectors).to(model.device), *self.dev_drafts(model)]
        for *part, row in zip(*(torch.split(x, ROWS) for x in (*given, labels)), strict=True):
            tokens = float(row.ge(0).sum())
            yield "loss", float(model(*part, labels=row).loss) * tokens, tokens

    def dev_drafts(self, model: Generator) -> list[Tensor]:
        return []

    def figures(
        self, first: Generator | None, second: Generator | None, drafts: list[str] | None
    ) -> dict[str, float]:
        """The figures of an inverter with one beam, after one correction if it corrects."""
        inverter = Inverter(self.embedder, self.tokenizer, first, second)
        found = inverter.invert(self.dev_vectors, int(second is not None), beam=1, drafts=drafts)
        result = summarize(found, self.dev_texts)
        names = ("bleu", "token_f1", "exact_match", "cosine")
        figures: dict[str, float] = {name: result[name]["value"] for name in names}
        if second is not None:
            figures["token_f1_round0"] = result["rounds"][0]["token_f1"]
        return figures

    def save(self, model: Generator, folder: Path) -> None:
        model.save_pretrained(folder, self.tokenizer)

    def _share(self, part: int) -> slice:
        processes, size = self.accelerator.num_processes, self.config.optim.micro_batch
        first = self.accelerator.process_index + part * size * processes
        return slice(first, first + size * processes, processes)

    def _labels(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Ids and mask, long [n, t], to ids with closing tokens and -100 beyond: [n, t + 1]."""
        labels = F.pad(ids.masked_fill(mask == 0, -100), (0, 1), value=-100)
        return labels.scatter(1, mask.sum(1, keepdim=True), self.eos)
