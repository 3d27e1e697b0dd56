"""Embedders of the library Sentence Transformers."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch

from nanov2t.core.errors import UserError
from nanov2t.embedders.base import Embedder, EmbedderInfo
from nanov2t.embedders.settings import UNCHANGED, EmbedderSettings
from nanov2t.fast import packed, search_dtype

TOKENS = 2048
"""Tokens of a batch of short texts whose hidden states are computed."""
STATES = 64
"""Texts of any such batch."""
PROBE = "The cat, 42."
SAME = 1e-4
"""Vectors are the same below this distance, relative to their length."""
USUAL_LIMITS = {"43c2b4586e20b8cb": 256}
"""Published limits below the longest that the transformer takes, by fingerprint (this is
all-MiniLM-L6-v2)."""


class SentenceEmbedder(Embedder):
    """A Sentence Transformers model.

    Args:
        model: the library's object, with its own prompt, limit and dimension unless set.
        name: for :func:`~nanov2t.embedders.registry.load_embedder`.

    Raises:
        UserError: the model lacks the prompt, or its limit is below max_tokens.
    """

    def __init__(self, model: Any, name: str, settings: EmbedderSettings = UNCHANGED):
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = model.tokenizer
        prompt = _prompt_of(model, name, settings)
        if settings.max_tokens is not None:
            longest = _longest_of(model)
            if longest is not None and settings.max_tokens > longest:
                raise UserError(
                    f"embedder {name}: takes {longest} tokens at most, not {settings.max_tokens}"
                )
            model.max_seq_length = settings.max_tokens
        with model.truncate_embeddings(None):
            whole_dim = model.get_embedding_dimension()
        dim = model.get_embedding_dimension()
        truncated = whole_dim is not None and dim < whole_dim
        info = EmbedderInfo(
            # A prompt chosen by name is recorded as its text.
            name=dataclasses.replace(
                settings,
                prompt=settings.prompt if settings.prompt_name is None else prompt,
                prompt_name=None,
            ).write(name),
            dim=dim,
            max_tokens=model.max_seq_length or self.tokenizer.model_max_length,
            normalized=not truncated
            and any(type(module).__name__ == "Normalize" for module in model),
            lowercase=self.normalize("A") == "a",
            fingerprint="",
            prompt=prompt,
            pools_prompt=not prompt or all(getattr(m, "include_prompt", True) for m in model),
            truncate_dim=dim if truncated else None,
        )
        self.info = dataclasses.replace(info, fingerprint=_fingerprint_of(model, info))
        kinds = [type(module).__name__ for module in model]
        pooled = len(kinds) > 1 and getattr(model[1], "pooling_mode", None) == "mean"
        # Searches take every state for a word of the text.
        plain = not prompt and not truncated
        self.has_states = pooled and plain and set(kinds[2:]) <= {"Dense", "Normalize"}

    def normalize(self, text: str) -> str:
        """The text as the embedder sees it (MiniLM: lower case, no accents), stripped."""
        normalizer = self.tokenizer.backend_tokenizer.normalizer
        seen: str = normalizer.normalize_str(text) if normalizer else text
        return seen.strip()

    def unseen(self, text: str) -> int:
        [ids] = self.tokenize([text])
        return ids.count(self.tokenizer.unk_token_id)

    def _prompted(self, texts: Sequence[str]) -> list[str]:
        return [self.info.prompt + text for text in texts]

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
        # One length at a time: no padding, so the other texts do not change a vector, not even in
        # its last bit. In few shapes, since oneDNN allocates for each, and in batches that fit the
        # cache.
        groups: dict[int, list[int]] = {}
        for i, ids in enumerate(self.tokenizer(self._prompted(texts), verbose=False)["input_ids"]):
            groups.setdefault(min(len(ids), self.max_tokens), []).append(i)
        for group in groups.values():
            chosen, step = [texts[i] for i in group], min(8, 1 << (len(group) - 1).bit_length())
            vectors[group] = self._encode(chosen + chosen[:1] * (-len(group) % step), 64)[
                : len(group)
            ]
        return vectors

    def _encode(self, texts: list[str], batch: int) -> np.ndarray:
        vectors = self._reader.encode(
            texts,
            prompt=self.info.prompt,  # if empty, it overrides the library's default
            batch_size=batch,
            convert_to_tensor=True,
            show_progress_bar=False,
        )
        made: np.ndarray = vectors.float().cpu().numpy()
        return made

    def reads(self, tokenizer: Any) -> bool:
        """Whether token ids of `tokenizer` can be embedded directly.

        They can with a shared WordPiece vocabulary. It splits words greedily from the left, so the
        tokens of a crop are those of its text, even if it ends inside a word. A Unigram vocabulary
        (T5's) may split the rest of a word differently.
        """
        ours = tokenization(self.tokenizer)
        if ours["model"]["type"] != "WordPiece" or ours != tokenization(tokenizer):
            return False
        # A prompt may merge with the first word, and a model may change its texts.
        ids = self.tokenizer(PROBE, add_special_tokens=False, return_tensors="pt")
        ids = ids["input_ids"].to(self.model.device)
        by_ids = self.encode_ids(ids, torch.ones_like(ids)).cpu().numpy()
        by_text = self.encode([PROBE])
        return bool(np.linalg.norm(by_ids - by_text) < SAME * np.linalg.norm(by_text))

    @cached_property
    def _prompt_ids(self) -> list[int]:
        ids: list[int] = self.tokenizer(self.info.prompt, add_special_tokens=False)["input_ids"]
        return ids

    def framed(self, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        prompt = torch.tensor(self._prompt_ids, dtype=torch.long, device=ids.device)
        room = max(0, self.max_tokens - len(prompt) - 2)  # beside the two special tokens
        ids, mask = ids[:, :room], mask[:, :room]
        n, first = len(ids), 1 + len(prompt)  # the place of the text's first token
        ends = first + mask.sum(1)
        pad = self.tokenizer.pad_token_id
        padded = torch.full((n, first + ids.shape[1] + 1), pad, device=ids.device)
        padded[:, 0] = self.tokenizer.cls_token_id
        padded[:, 1:first] = prompt
        padded[:, first:-1] = ids.masked_fill(~mask.bool(), pad)
        padded[torch.arange(n, device=ids.device), ends] = self.tokenizer.sep_token_id
        attention = torch.arange(padded.shape[1], device=ids.device) <= ends[:, None]
        return padded, attention.long()

    @torch.no_grad()
    def encode_ids(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        padded, attention = self.framed(ids, mask)
        features: dict[str, Any] = {"input_ids": padded, "attention_mask": attention}
        if self._prompt_ids:
            features["prompt_length"] = 1 + len(self._prompt_ids)
        vectors: torch.Tensor = self._reader(features)["sentence_embedding"]
        return vectors[:, : self.dim].float()

    @torch.no_grad()
    def states(self, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.tokenizer(
            self._prompted(texts),
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

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        if not texts:
            return []
        rows = self.tokenizer(
            self._prompted(texts),
            truncation=True,
            max_length=self.max_tokens,
            return_attention_mask=False,
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
            size = max(STATES, TOKENS // len(rows[places[0]]))
            for start in range(0, len(places), size):
                part = places[start : start + size]
                ids = torch.tensor([rows[i] for i in part], device=self.model.device)
                yield part, ids, self.states_of_ids(ids, torch.ones_like(ids))

    @torch.no_grad()
    def states_of_ids(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        features = {"input_ids": ids, "attention_mask": mask.long()}
        states: torch.Tensor = self._rough_reader[0](features)["token_embeddings"]
        return states

    def of_mean(self, means: torch.Tensor) -> torch.Tensor:
        features = {"sentence_embedding": means}
        for module in list(self.model)[2:]:
            features = module(features)
        return features["sentence_embedding"]


def tokenization(tokenizer: Any) -> dict[str, Any]:
    """How a fast tokenizer splits text, without padding and truncation, which change in use."""
    settings = json.loads(tokenizer.backend_tokenizer.to_str())
    return {key: settings[key] for key in ("normalizer", "pre_tokenizer", "model")}


def _prompt_of(model: Any, name: str, settings: EmbedderSettings) -> str:
    if settings.prompt is not None:
        return settings.prompt
    chosen = settings.prompt_name or model.default_prompt_name
    if settings.prompt_name and chosen not in model.prompts:
        raise UserError(f"embedder {name}: no prompt {chosen}, only {', '.join(model.prompts)}")
    return (model.prompts[chosen] or "") if chosen else ""


def _longest_of(model: Any) -> int | None:
    """The number of positions of a transformer; None if it does not say."""
    transformer = getattr(model[0], "model", None)
    config = getattr(transformer, "config", None)
    positions = getattr(config, "max_position_embeddings", None) or getattr(
        config, "n_positions", None
    )
    if positions is None:
        return None
    # RoBERTa and its kin count positions from the padding token's id plus one.
    padding = getattr(getattr(transformer, "embeddings", None), "padding_idx", None)
    return int(positions) - (0 if padding is None else int(padding) + 1)


def _fingerprint_of(model: Any, info: EmbedderInfo) -> str:
    """A hash of up to 4,096 values of each weight, the vocabulary and the modules, and of any
    prompt, dimension and limit other than the model's own. Names and serialised settings are left
    out, since they change with the libraries' versions."""
    digest = hashlib.sha256()
    for _, weight in sorted(model.named_parameters()):
        flat = weight.detach().flatten()
        sample = flat[:: max(1, flat.numel() // 4096)].float().cpu().numpy()
        digest.update(f"{tuple(weight.shape)}".encode() + sample.tobytes())
    digest.update(json.dumps(sorted(model.tokenizer.get_vocab().items())).encode())
    for module in model:
        digest.update(f"{type(module).__name__} {getattr(module, 'pooling_mode', '')}".encode())
    changes: dict[str, Any] = {}
    if info.prompt:
        changes["prompt"] = [info.prompt, info.pools_prompt]
    if info.truncate_dim:
        changes["truncate_dim"] = info.truncate_dim
    usual_limit = USUAL_LIMITS.get(digest.hexdigest()[:16], _longest_of(model))
    if info.max_tokens != usual_limit:
        changes["max_tokens"] = info.max_tokens
    if changes:
        digest.update(json.dumps(changes, sort_keys=True).encode())
    return digest.hexdigest()[:16]
