"""Embedders of the library Sentence Transformers."""

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
from nanov2t.embedders.base import UNCHANGED, Embedder, EmbedderInfo, EmbedderSettings
from nanov2t.fast import packed, search_dtype

TOKENS, STATES = 2048, 64  # of a batch of short texts whose states are computed; texts of any batch
SAME = 1e-4  # vectors are the same below this distance, relative to their length
USUAL_LIMITS = {"43c2b4586e20b8cb": 256}  # by fingerprint: all-MiniLM-L6-v2
"""Published limits below the longest that the transformer takes."""


class SentenceEmbedder(Embedder):
    """A Sentence Transformers model, with its own prompt, limit and dimension unless set."""

    def __init__(self, model: Any, name: str, settings: EmbedderSettings = UNCHANGED):
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = model.tokenizer
        chosen = settings.prompt_name or model.default_prompt_name
        if settings.prompt_name and chosen not in model.prompts:
            raise UserError(f"embedder {name}: no prompt {chosen}, only {', '.join(model.prompts)}")
        prompt, longest = settings.prompt, _longest_of(model)
        if prompt is None:
            prompt = (model.prompts[chosen] or "") if chosen else ""
        if (most := settings.max_tokens) is not None:
            if longest is not None and most > longest:
                raise UserError(f"embedder {name}: takes {longest} tokens at most, not {most}")
            model.max_seq_length = most
        if settings.prompt_name is not None:  # recorded as its text
            settings = dataclasses.replace(settings, prompt=prompt, prompt_name=None)
        with model.truncate_embeddings(None):
            whole_dim = model.get_embedding_dimension()
        dim = model.get_embedding_dimension()
        truncated = whole_dim is not None and dim < whole_dim
        kinds = [type(module).__name__ for module in model]
        info = EmbedderInfo(
            name=settings.write(name),
            dim=dim,
            max_tokens=model.max_seq_length or self.tokenizer.model_max_length,
            normalized=not truncated and "Normalize" in kinds,
            lowercase=self.normalize("A") == "a",
            fingerprint="",
            prompt=prompt,
            pools_prompt=not prompt or all(getattr(m, "include_prompt", True) for m in model),
            truncate_dim=dim if truncated else None,
        )
        self.info = dataclasses.replace(info, fingerprint=_fingerprint_of(model, info, longest))
        # Searches take every state for a word of the text, so there may be no prompt.
        plain = not prompt and not truncated and set(kinds[2:]) <= {"Dense", "Normalize"}
        self.has_states = plain and pools_by_mean(model)

    def normalize(self, text: str) -> str:
        normalizer = self.tokenizer.backend_tokenizer.normalizer
        return str(normalizer.normalize_str(text) if normalizer else text).strip()

    def unseen(self, text: str) -> int:
        [ids] = self.tokenize([text])
        return ids.count(self.tokenizer.unk_token_id)

    def _features(self, texts: Sequence[str], **options: Any) -> Any:
        prompted = [self.info.prompt + text for text in texts]
        return self.tokenizer(prompted, truncation=True, max_length=self.max_tokens, **options)

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        return list(self._features(texts)["input_ids"]) if texts else []

    @cached_property
    def _reader(self) -> Any:
        return packed(self.model)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        texts = list(texts)
        if texts and self.model.device.type != "cpu":
            return self._encode(texts, 512)
        vectors = np.zeros((len(texts), self.dim), np.float32)
        # One length at a time: without padding, other texts do not change even the last bit of a
        # vector. In few shapes, since oneDNN allocates for each, and batches that fit the cache.
        for group in _by_length(self.tokenize(texts)):
            chosen, step = [texts[i] for i in group], min(8, 1 << (len(group) - 1).bit_length())
            filled = chosen + chosen[:1] * (-len(group) % step)
            vectors[group] = self._encode(filled, 64)[: len(group)]
        return vectors

    def _encode(self, texts: list[str], batch: int) -> np.ndarray:
        vectors = self._reader.encode(
            texts,
            prompt=self.info.prompt,  # if empty, it overrides the library's default
            batch_size=batch,
            convert_to_tensor=True,
            show_progress_bar=False,
        )
        return np.asarray(vectors.float().cpu().numpy())

    def reads(self, tokenizer: Any) -> bool:
        # WordPiece splits words greedily from the left, so the tokens of a crop are those of its
        # text, even if it ends inside a word. Unigram (T5's) may split a part of a word otherwise.
        ours = tokenization(self.tokenizer)
        if ours["model"]["type"] != "WordPiece" or ours != tokenization(tokenizer):
            return False
        # A prompt may merge with the first word, and a model may change its texts.
        text = "The cat, 42."
        ids = self.tokenizer(text, add_special_tokens=False, return_tensors="pt")
        ids = ids["input_ids"].to(self.model.device)
        by_ids = self.encode_ids(ids, torch.ones_like(ids)).cpu().numpy()
        by_text = self.encode([text])
        return bool(np.linalg.norm(by_ids - by_text) < SAME * np.linalg.norm(by_text))

    @cached_property
    def _prompt_ids(self) -> Any:
        return self.tokenizer(self.info.prompt, add_special_tokens=False)["input_ids"]

    def framed(self, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        first = 1 + len(self._prompt_ids)  # the place of the text's first token
        room = max(0, self.max_tokens - first - 1)
        ids, mask = ids[:, :room], mask[:, :room]
        n, ends, pad = len(ids), first + mask.sum(1), self.tokenizer.pad_token_id
        padded = torch.full((n, first + ids.shape[1] + 1), pad, device=ids.device)
        padded[:, 0] = self.tokenizer.cls_token_id
        padded[:, 1:first] = torch.tensor(self._prompt_ids, dtype=torch.long, device=ids.device)
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
        features = self._features(texts, padding=True, return_tensors="pt").to(self.model.device)
        states = self._reader[0]({**features})["token_embeddings"]
        return states.float(), features["attention_mask"].bool()

    @torch.no_grad()
    def states_by_length(
        self, texts: Sequence[str]
    ) -> Iterator[tuple[list[int], torch.Tensor, torch.Tensor]]:
        rows = self.tokenize(texts)
        for places in _by_length(rows):
            size = max(STATES, TOKENS // len(rows[places[0]]))
            for start in range(0, len(places), size):
                part = places[start : start + size]
                ids = torch.tensor([rows[i] for i in part], device=self.model.device)
                yield part, ids, self.states_of_ids(ids, torch.ones_like(ids))

    @cached_property
    def _rough_reader(self) -> Any:
        dtype = search_dtype(self.model.device)
        if not self.has_states or dtype == self.model.dtype:
            return self._reader
        return packed(copy.deepcopy(self.model).to(dtype))

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


def _by_length(rows: Sequence[Sequence[int]]) -> list[list[int]]:
    """The indices of the rows of each length."""
    groups: dict[int, list[int]] = {}
    for i, row in enumerate(rows):
        groups.setdefault(len(row), []).append(i)
    return list(groups.values())


def pools_by_mean(model: Any) -> bool:
    return len(model) > 1 and getattr(model[1], "pooling_mode", None) == "mean"


def tokenization(tokenizer: Any) -> dict[str, Any]:
    """How a fast tokenizer splits text, without padding and truncation, which change in use."""
    settings = json.loads(tokenizer.backend_tokenizer.to_str())
    return {key: settings[key] for key in ("normalizer", "pre_tokenizer", "model")}


def _longest_of(model: Any) -> int | None:
    """The number of positions of a transformer; None if it does not say."""
    transformer = getattr(model[0], "model", None)
    config, most = getattr(transformer, "config", None), "max_position_embeddings"
    positions = getattr(config, most, None) or getattr(config, "n_positions", None)
    # RoBERTa and its kin count positions from the padding token's id plus one.
    padding = getattr(getattr(transformer, "embeddings", None), "padding_idx", None)
    return positions and int(positions) - (0 if padding is None else int(padding) + 1)


def _fingerprint_of(model: Any, info: EmbedderInfo, longest: int | None) -> str:
    """A hash of up to 4,096 values of each weight, the vocabulary, the modules, and settings other
    than the model's own. Names do not count, since they change with the libraries' versions."""
    digest = hashlib.sha256()
    for _, weight in sorted(model.named_parameters()):
        flat = weight.detach().flatten()
        sample = flat[:: max(1, flat.numel() // 4096)].float().cpu().numpy()
        digest.update(f"{tuple(weight.shape)}".encode() + sample.tobytes())
    digest.update(json.dumps(sorted(model.tokenizer.get_vocab().items())).encode())
    for module in model:
        digest.update(f"{type(module).__name__} {getattr(module, 'pooling_mode', '')}".encode())
    usual = USUAL_LIMITS.get(digest.hexdigest()[:16], longest)
    changes = {
        "prompt": info.prompt and [info.prompt, info.pools_prompt],
        "truncate_dim": info.truncate_dim,
        "max_tokens": info.max_tokens if info.max_tokens != usual else None,
    }
    if given := {name: value for name, value in changes.items() if value}:
        digest.update(json.dumps(given, sort_keys=True).encode())
    return digest.hexdigest()[:16]
