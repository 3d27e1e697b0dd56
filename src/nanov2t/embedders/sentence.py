"""Embedders of the library Sentence Transformers."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch

from nanov2t.embedders.base import Embedder, EmbedderInfo
from nanov2t.fast.numbers import search_dtype
from nanov2t.fast.packed import packed

STATES = 64
"""Texts whose hidden states are made at a time."""


class SentenceEmbedder(Embedder):
    """A Sentence Transformers model."""

    def __init__(self, model: Any, name: str):
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = model.tokenizer
        self.info = EmbedderInfo(
            name=name,
            dim=model.get_embedding_dimension(),
            max_tokens=model.max_seq_length or self.tokenizer.model_max_length,
            normalized=any(type(module).__name__ == "Normalize" for module in model),
            lowercase=self.normalize("A") == "a",
            fingerprint=_fingerprint(model),
        )
        kinds = [type(module).__name__ for module in model]
        pooled = len(kinds) > 1 and getattr(model[1], "pooling_mode", None) == "mean"
        self.has_states = pooled and set(kinds[2:]) <= {"Dense", "Normalize"}

    def normalize(self, text: str) -> str:
        """The text as the embedder sees it (MiniLM: lower case, no accents), surrounding blanks
        removed."""
        normalizer = self.tokenizer.backend_tokenizer.normalizer
        seen: str = normalizer.normalize_str(text) if normalizer else text
        return seen.strip()

    @cached_property
    def _reader(self) -> Any:
        return packed(self.model)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        texts = list(texts)
        vectors = np.zeros((len(texts), self.dim), np.float32)
        if not texts:
            return vectors
        if self.model.device.type != "cpu":
            return self._encode(texts, 512)
        # Of one length at a time, nothing is padded, and a vector does not depend, to the last bit,
        # on what other texts it is made with. In few shapes, since oneDNN keeps something for each;
        # in batches that stay in the cache.
        groups: dict[int, list[int]] = {}
        for i, ids in enumerate(self.tokenizer(texts, verbose=False)["input_ids"]):
            groups.setdefault(min(len(ids), self.max_tokens), []).append(i)
        for group in groups.values():
            chosen, step = [texts[i] for i in group], min(8, 1 << (len(group) - 1).bit_length())
            vectors[group] = self._encode(chosen + chosen[:1] * (-len(group) % step), 64)[
                : len(group)
            ]
        return vectors

    def _encode(self, texts: list[str], batch: int) -> np.ndarray:
        vectors = self._reader.encode(
            texts, batch_size=batch, convert_to_tensor=True, show_progress_bar=False
        )
        made: np.ndarray = vectors.float().cpu().numpy()
        return made

    def reads(self, tokenizer: Any) -> bool:
        """Whether token ids of `tokenizer` can be embedded as they are, without passing through
        text.

        Holds for a shared WordPiece vocabulary: it splits words greedily from the left, so the
            tokens of a crop are
        the tokens of its text, even where the crop ends inside a word. A Unigram vocabulary (T5's)
        may split a word that was cut off otherwise than the whole one.
        """
        ours = tokenization(self.tokenizer)
        return bool(ours["model"]["type"] == "WordPiece" and ours == tokenization(tokenizer))

    @torch.no_grad()
    def encode_ids(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        n = len(ids)
        lengths = mask.sum(1)
        padded = torch.full((n, ids.shape[1] + 2), self.tokenizer.pad_token_id, device=ids.device)
        padded[:, 1:-1] = ids.masked_fill(~mask.bool(), self.tokenizer.pad_token_id)
        padded[:, 0] = self.tokenizer.cls_token_id
        padded[torch.arange(n, device=ids.device), lengths + 1] = self.tokenizer.sep_token_id
        attention = torch.arange(padded.shape[1], device=ids.device) < (lengths + 2)[:, None]
        features = {"input_ids": padded, "attention_mask": attention.long()}
        vectors: torch.Tensor = self._reader(features)["sentence_embedding"]
        return vectors.float()

    @torch.no_grad()
    def states(self, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.tokenizer(
            list(texts),
            padding=True,
            truncation=True,
            max_length=self.max_tokens,
            return_tensors="pt",
        ).to(self.model.device)
        parts = []
        for start in range(0, len(texts), STATES):
            part = {name: value[start : start + STATES] for name, value in features.items()}
            parts.append(self._reader[0](part)["token_embeddings"].float())
        return torch.cat(parts), features["attention_mask"].bool()

    @cached_property
    def _rough_reader(self) -> Any:
        dtype = search_dtype(self.model.device)
        if not self.has_states or dtype == self.model.dtype:
            return self._reader
        return packed(copy.deepcopy(self.model).to(dtype))

    @property
    def rough(self) -> bool:
        return self._rough_reader is not self._reader

    def encode_roughly(self, texts: Sequence[str]) -> np.ndarray:
        if not self.rough:
            return self.encode(texts)
        vectors = np.zeros((len(texts), self.dim), np.float32)
        for places, _, states in self.states_by_length(texts):
            vectors[places] = self.of_mean(states.float().mean(1)).cpu().numpy()
        return vectors

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        if not texts:
            return []
        rows = self.tokenizer(
            list(texts), truncation=True, max_length=self.max_tokens, return_attention_mask=False
        )
        ids: list[list[int]] = rows["input_ids"]
        return ids

    @torch.no_grad()
    def states_by_length(
        self, texts: Sequence[str]
    ) -> Iterator[tuple[list[int], torch.Tensor, torch.Tensor]]:
        groups: dict[int, list[int]] = {}
        rows = self.tokenize(texts)
        for i, row in enumerate(rows):
            groups.setdefault(len(row), []).append(i)
        for places in groups.values():
            for start in range(0, len(places), STATES):
                part = places[start : start + STATES]
                ids = torch.tensor([rows[i] for i in part], device=self.model.device)
                features = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
                yield part, ids, self._rough_reader[0](features)["token_embeddings"]

    def of_mean(self, means: torch.Tensor) -> torch.Tensor:
        features = {"sentence_embedding": means}
        for module in list(self.model)[2:]:
            features = module(features)
        return features["sentence_embedding"]


def tokenization(tokenizer: Any) -> dict[str, Any]:
    """How a fast tokenizer splits text; its padding and truncation, which change as it is used, are
    left out."""
    settings = json.loads(tokenizer.backend_tokenizer.to_str())
    return {key: settings[key] for key in ("normalizer", "pre_tokenizer", "model")}


def _fingerprint(model: Any) -> str:
    """Hash of what makes the vectors: up to 4,096 values spread over each weight, the vocabulary,
    the modules.

    Names and serialised settings stay out: they change with the libraries' versions, the vectors do
    not.
    """
    digest = hashlib.sha256()
    for _, weight in sorted(model.named_parameters()):
        flat = weight.detach().flatten()
        sample = flat[:: max(1, flat.numel() // 4096)].float().cpu().numpy()
        digest.update(f"{tuple(weight.shape)}".encode() + sample.tobytes())
    digest.update(json.dumps(sorted(model.tokenizer.get_vocab().items())).encode())
    for module in model:
        digest.update(f"{type(module).__name__} {getattr(module, 'pooling_mode', '')}".encode())
    return digest.hexdigest()[:16]
