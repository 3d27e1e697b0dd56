"""Figures of a model in training on texts that no run trains on."""

from __future__ import annotations

import itertools

import torch

from nanov2t.core.passages import read_passages
from nanov2t.embedders.base import Embedder
from nanov2t.embedders.text import reference
from nanov2t.evaluation.evaluate import evaluate
from nanov2t.inverter import Inverter
from nanov2t.models.generator import Generator
from nanov2t.train.config import TrainConfig
from nanov2t.train.drafts import labels_of


class Dev:
    """Texts that no run trains on, and the figures of a model on them."""

    def __init__(self, config: TrainConfig, embedder: Embedder, tokenizer):
        passages = read_passages(config.data.dev or config.data.train, "dev")
        limit = config.data.max_tokens
        self.texts = [
            reference(text, tokenizer, embedder, limit)
            for text in itertools.islice(passages, config.eval_limit)
        ]
        self.vectors = embedder.encode(self.texts)
        self.embedder, self.tokenizer = embedder, tokenizer

    def figures(self, generator: Generator, hypothesizer: Generator | None) -> dict[str, float]:
        """Figures with one beam, after one correction where the model corrects; `loss` is of the
        first guess."""
        generator.eval()
        first = generator if generator.config.hypothesizes else hypothesizer
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
        rows = self.tokenizer(
            self.texts, add_special_tokens=False, padding=True, return_tensors="pt"
        )
        ids, mask = (
            rows["input_ids"].to(generator.device),
            rows["attention_mask"].to(generator.device),
        )
        labels = labels_of(ids, mask, generator.t5.config.eos_token_id)
        vectors = torch.from_numpy(self.vectors).to(generator.device)
        parts = list(zip(vectors.split(64), labels.split(64), strict=True))
        nats = sum(float(generator(v, labels=row).loss * row.ge(0).sum()) for v, row in parts)
        return nats / int(labels.ge(0).sum())
