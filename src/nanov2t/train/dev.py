"""Figures of a model in training on texts that no run trains on."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nanov2t.core.drafts import drafts_file, drafts_of
from nanov2t.core.errors import UserError
from nanov2t.core.passages import read_rows
from nanov2t.embedders.base import Embedder
from nanov2t.embedders.text import reference
from nanov2t.evaluation.evaluate import summarize
from nanov2t.inverter import Inverter
from nanov2t.models.generator import Generator
from nanov2t.models.writer import Writer
from nanov2t.train.config import TrainConfig
from nanov2t.train.draft_files import check_facts
from nanov2t.train.examples import labels_of

ROWS = 64
"""Texts that pass through the model at a time."""


class Dev:
    """Texts that no run trains on, their drafts where they stand in files, and the figures of a
    model on them.

    Args:
        hypothesizer: writes the first guesses for a model that only corrects.

    Raises:
        UserError: texts or drafts cannot be had, or do not fit together.
    """

    def __init__(
        self,
        config: TrainConfig,
        embedder: Embedder,
        tokenizer: Any,
        hypothesizer: Generator | None,
    ):
        source, limit = config.data.dev or config.data.train, config.data.max_tokens
        rows = enumerate(read_rows(source, "dev"))
        texts = dict(itertools.islice((row for row in rows if row[1]), config.eval_limit))
        if not texts:
            raise UserError(f"{source}: holds no text")
        self.texts = [reference(text, tokenizer, embedder, limit) for text in texts.values()]
        self.drafts = None
        if config.drafts.files:
            path = drafts_file(Path(config.drafts.files), "dev")
            check_facts(path, embedder, limit)
            count = max(texts) + 1 + sum(1 for _ in rows)
            self.drafts = drafts_of(path, range(count), list(texts))
        self.vectors = embedder.encode(self.texts)
        self.embedder, self.tokenizer, self.hypothesizer = embedder, tokenizer, hypothesizer
        self.share = config.drafts.share

    def of(self, generator: Generator) -> dict[str, float]:
        """Figures with one beam, after one correction where the model corrects. `loss` is nats a
        token, as in training: of the texts, given their vectors alone or with a first guess too,
        or of both, in the shares of the training."""
        generator.eval()
        does = generator.config
        first = generator if does.hypothesizes else self.hypothesizer
        inverter = Inverter(
            self.embedder, self.tokenizer, first, generator if does.corrects else None
        )
        found = inverter.invert(self.vectors, int(does.corrects), beam=1, drafts=self.drafts)
        result = summarize(found, self.texts)
        figures = {
            key: result[key]["value"] for key in ("bleu", "token_f1", "exact_match", "cosine")
        }
        given: list[Tensor] = [torch.from_numpy(self.vectors).to(generator.device)]
        losses = {}
        if does.hypothesizes:
            losses["loss_round0"] = self._loss(generator, given)
        if does.corrects:
            figures["token_f1_round0"] = result["rounds"][0]["token_f1"]
            guesses = [inversion.rounds[0].text for inversion in found]
            embedded = torch.from_numpy(self.embedder.encode(guesses)).to(generator.device)
            given += [embedded, *Writer(generator, self.tokenizer, self.embedder).encode(guesses)]
            losses["loss_round1"] = self._loss(generator, given)
        shares = {"loss_round0": 1 - self.share, "loss_round1": self.share}
        loss = sum(shares[name] * value for name, value in losses.items())
        return figures | {"loss": loss} | (losses if len(losses) > 1 else {})

    @torch.inference_mode()
    def _loss(self, generator: Generator, given: Sequence[Tensor]) -> float:
        """Nats per token of the texts, given their vectors or vectors and drafts, [n, ...] each."""
        rows = self.tokenizer(
            self.texts, add_special_tokens=False, padding=True, return_tensors="pt"
        )
        labels = labels_of(rows["input_ids"], rows["attention_mask"], generator.eos_token_id)
        labels = labels.to(generator.device)
        nats = 0.0
        for *part, row in zip(*(torch.split(x, ROWS) for x in (*given, labels)), strict=True):
            nats += float(generator(*part, labels=row).loss * row.ge(0).sum())
        return nats / int(labels.ge(0).sum())
