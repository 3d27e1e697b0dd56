"""Training of a generator; `drafts.share` decides of which kind: 0 a hypothesizer, 1 a corrector,
between them a joint model.

    nanov2t train configs/minilm_wiki32_stage1.yaml
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from nanov2t.core.drafts import drafts_file
from nanov2t.core.errors import UserError
from nanov2t.embedders.base import Embedder
from nanov2t.embedders.registry import load_embedder
from nanov2t.inverter import Inverter
from nanov2t.models.generator import Generator
from nanov2t.train.build import build_generator, load_hypothesizer
from nanov2t.train.config import TrainConfig
from nanov2t.train.data import Corpus, Embed
from nanov2t.train.dev import Dev
from nanov2t.train.draft_files import FiledDrafts
from nanov2t.train.drafting import write_drafts
from nanov2t.train.drafts import DraftPool
from nanov2t.train.examples import Examples, labels_of
from nanov2t.train.loop import run, start
from nanov2t.train.task import MicroBatch

FAR = 1_000_000
"""Steps ahead of a run's first from which the lexical head's own crops are: on those that the
generator meets first, the guess must be no better than on any."""


def train(config: TrainConfig) -> Path:
    """Train, or resume, the run in ``config.out``; returns the folder of the finished model.

    Raises:
        UserError: the run folder holds another run, or the data or models cannot be had.
    """
    accelerator = start(config, unused_weights=0 < config.drafts.share < 1)
    embedder = load_embedder(config.embedder, accelerator.device)
    generator, tokenizer = build_generator(config, embedder)
    task = Inversion(config, generator, tokenizer, embedder, accelerator)
    return run(task, generator, config, accelerator)


class Inversion:
    """A task: to write a text, given its vector, or its vector and a draft."""

    def __init__(
        self,
        config: TrainConfig,
        generator: Generator,
        tokenizer: Any,
        embedder: Embedder,
        accelerator: Accelerator,
    ):
        self.config, self.generator, self.tokenizer = config, generator, tokenizer
        if config.drafts.share == 1 and not (config.drafts.files or config.drafts.hypothesizer):
            raise UserError("drafts.share=1 needs drafts.hypothesizer or drafts.files")
        with accelerator.main_process_first():
            self.corpus = Corpus.load(config.data.train, tokenizer, config.data.cache)
        embed = Embed(embedder, tokenizer)
        self.examples = Examples(config, self.corpus, tokenizer, embed, accelerator)
        self.hypothesizer = None
        if config.drafts.hypothesizer:
            first = load_hypothesizer(config.drafts.hypothesizer, tokenizer, embedder)
            self.hypothesizer = first.to(accelerator.device)
        self.figures = Dev(config, embedder, tokenizer, self.hypothesizer)
        self.accelerator = accelerator
        self.steps = max(1, round(config.optim.epochs * self.examples.per_epoch()))

    def seen(self, step: int) -> int:
        return step * self.config.optim.batch

    def begin(self) -> None:
        steps = self.config.optim.lexical_steps
        if self.generator.lexical is not None and steps and not self.config.init:
            train_lexical_head(self.generator, self.corpus, self.examples, steps)

    def micro_batches(self, step: int, current: Callable[[], Generator]) -> Iterator[MicroBatch]:
        examples = self.examples
        tokens = examples.tokens(step)
        if examples.plain:
            batch = examples.batch("hypothesizer", step, examples.mine)
            labels = self._labels(batch.ids, batch.mask)
            yield from self._split({"target_embeddings": batch.vectors}, labels, tokens)
        if examples.drafted:
            drafted = self.drafts.at(step, current)
            labels = self._labels(drafted["ids"], drafted["mask"])
            arguments = {
                "target_embeddings": drafted["vectors"],
                "draft_embeddings": drafted["draft_vectors"],
                "draft_input_ids": drafted["draft_ids"],
                "draft_attention_mask": drafted["draft_mask"],
            }
            yield from self._split(arguments, labels, tokens)

    def state(self) -> dict[str, Tensor]:
        pool = self.drafts if isinstance(self.drafts, DraftPool) else None
        return {f"pool.{key}": value for key, value in pool.tensors.items()} if pool else {}

    def load_state(self, state: dict[str, Tensor]) -> None:
        if isinstance(self.drafts, DraftPool):
            tensors = {key.removeprefix("pool."): value for key, value in state.items()}
            self.drafts.tensors = tensors

    @cached_property
    def drafts(self) -> DraftPool | FiledDrafts:
        """Written as training goes; or, where each passage always has the same one, out of a file,
        which a hypothesizer's are written to first."""
        config, examples, eos = self.config, self.examples, self.generator.eos_token_id
        folder, fixed = config.drafts.files, config.data.crop == "start"
        if self.hypothesizer is not None and fixed and config.drafts.rounds == 1:
            folder = str(config.out / "drafts")
            first = Inverter(examples.embed.embedder, self.tokenizer, self.hypothesizer, None)
            write_drafts(first, config.data.train, "train", Path(folder))
        if folder:
            path = drafts_file(Path(folder), "train")
            return FiledDrafts(path, examples, self.corpus, eos, self.accelerator)
        return DraftPool(config, examples, eos, self.hypothesizer, self.accelerator)

    def dev(self, model: Generator) -> dict[str, float]:
        return self.figures.of(model)

    def save(self, model: Generator, folder: Path) -> None:
        model.save_pretrained(folder, self.tokenizer)

    def _labels(self, ids: Tensor, mask: Tensor) -> Tensor:
        return labels_of(ids, mask, self.generator.eos_token_id)

    def _split(
        self, arguments: dict[str, Tensor], labels: Tensor, tokens: int
    ) -> Iterator[MicroBatch]:
        """Micro-batches of arguments [n, ...] and labels [n, t], weighted so that the loss of a
        step is the mean over its `tokens`."""
        size = self.config.optim.micro_batch
        for i in range(0, len(labels), size):
            part = {key: value[i : i + size] for key, value in arguments.items()}
            part["labels"] = labels[i : i + size]
            yield MicroBatch(part | {"keep_logits": False}, part["labels"].ge(0).sum() / tokens)


def train_lexical_head(
    generator: Generator, corpus: Corpus, examples: Examples, steps: int
) -> None:
    """Teach the lexical head alone which words a text holds. Every process does the same, so they
    stay equal."""
    head, eos = generator.lexical, generator.eos_token_id
    assert head is not None
    lr = 0.1 / head.vector_scale  # the guess moves as fast whatever the scale
    counts = corpus.counts(head.linear.out_features)
    counts[eos] = counts.sum() / generator.config.max_tokens
    head.set_frequencies(counts.to(head.log_frequency.device))
    optimizer = torch.optim.Adam(head.linear.parameters(), lr=lr, fused=True)
    for step in range(steps):
        batch = examples.batch(next(iter(examples.sizes)), FAR + step)
        loss = head.loss(batch.vectors, labels_of(batch.ids, batch.mask, eos))
        loss.backward()
        optimizer.param_groups[0]["lr"] = lr * (1 - step / steps)
        optimizer.step()
        optimizer.zero_grad()
