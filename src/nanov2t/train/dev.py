"""Figures of a model in training on texts that no run trains on."""

from __future__ import annotations

import itertools
from typing import Any

import torch

from nanov2t.core.passages import read_passages
from nanov2t.embedders.base import Embedder
from nanov2t.embedders.text import reference
from nanov2t.evaluation.evaluate import evaluate
from nanov2t.inverter import Inverter
from nanov2t.models.generator import Generator
from nanov2t.train.config import TrainConfig
from nanov2t.train.examples import labels_of

ROWS = 64
"""Texts that pass through the model at a time."""


class Dev:
    """Texts that no run trains on, and the figures of a model on them.

    Args:
        hypothesizer: writes the first guesses for a model that only corrects.
    """

    def __init__(
        self,
        config: TrainConfig,
        embedder: Embedder,
        tokenizer: Any,
        hypothesizer: Generator | None,
    ):
        passages = read_passages(config.data.dev or config.data.train, "dev")
        limit = config.data.max_tokens
        self.texts = [
            reference(text, tokenizer, embedder, limit)
            for text in itertools.islice(passages, config.eval_limit)
        ]
        self.vectors = embedder.encode(self.texts)
        self.embedder, self.tokenizer, self.hypothesizer = embedder, tokenizer, hypothesizer

    def of(self, generator: Generator) -> dict[str, float]:
        """Figures with one beam, after one correction where the model corrects; `loss` is of the
        first guess."""
        generator.eval()
        first = generator if generator.config.hypothesizes else self.hypothesizer
        inverter = Inverter(
            self.embedder, self.tokenizer, first, generator if generator.config.corrects else None
        )
        result = evaluate(
            inverter, self.texts, self.vectors, rounds=int(generator.config.corrects), beam=1
        )
        figures = {
            key: result[key]["value"] for key in ("bleu", "token_f1", "exact_match", "cosine")
        }
        if generator.config.corrects:
            figures["token_f1_round0"] = result["rounds"][0]["token_f1"]
        if generator.config.hypothesizes:
            figures["loss"] = self._loss(generator)
        return figures

    @torch.inference_mode()
    def _loss(self, generator: Generator) -> float:
        """Nats per token of the texts, given their vectors alone."""
        rows = self.tokenizer(
            self.texts, add_special_tokens=False, padding=True, return_tensors="pt"
        )
        labels = labels_of(rows["input_ids"], rows["attention_mask"], generator.eos_token_id)
        labels = labels.to(generator.device)
        vectors = torch.from_numpy(self.vectors).to(generator.device)
        nats = 0.0
        for part, row in zip(torch.split(vectors, ROWS), torch.split(labels, ROWS), strict=True):
            nats += float(generator(part, labels=row).loss * row.ge(0).sum())
        return nats / int(labels.ge(0).sum())
