"""A generator as the search uses it: vectors and texts in, texts out."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nanov2t.embedders.base import Embedder
from nanov2t.embedders.text import decode_texts
from nanov2t.fast import packed, search_dtype
from nanov2t.t5.generator import Generator

ROWS = {"cpu": 64, "cuda": 1024}
"""Hypotheses that pass through a generator at a time: enough to keep a device busy."""


class Written(str):
    """A text, with the token ids it was written in: other ids may decode to the same text."""

    ids: list[int]
    """With the closing token if one was written, without the start token."""

    def __new__(cls, text: str, ids: list[int]) -> Written:
        written = super().__new__(cls, text)
        written.ids = ids
        return written


class Writer:
    """A generator with its tokenizer. It writes texts as the embedder sees them, with a packed copy
    in the device's fastest number format, unless the generator is to decode by transformers."""

    def __init__(self, generator: Generator, tokenizer: Any, embedder: Embedder):
        self._generator, self.tokenizer, self.embedder = generator, tokenizer, embedder
        self.device = generator.device
        self.dtype = search_dtype(self.device) if generator.fast else generator.words.dtype
        self.rows = ROWS.get(self.device.type, ROWS["cpu"])

    @cached_property
    def generator(self) -> Generator:
        if not self._generator.fast:
            return self._generator
        same = self._generator.words.dtype == self.dtype
        return packed(self._generator if same else copy.deepcopy(self._generator).to(self.dtype))

    @torch.inference_mode()
    def hypothesize(self, targets: Sequence[np.ndarray], beams: int) -> list[list[str]]:
        """The `beams` best first guesses for each target, float32 [dim], best first."""
        ids = self.generator.generate(
            self._tensor(targets), num_beams=beams, num_return_sequences=beams
        )
        return _grouped(self._written(ids), beams)

    @torch.inference_mode()
    def correct(
        self,
        targets: Sequence[np.ndarray],
        drafts: Sequence[str],
        vectors: Sequence[np.ndarray],
        beams: int,
    ) -> list[list[str]]:
        """The `beams` best corrections of each draft, best first, given its target and its own
        vector, float32 [dim] each."""
        corrections: list[list[str]] = []
        for start in range(0, len(drafts), self.rows):
            part = slice(start, start + self.rows)
            ids = self.generator.generate(
                self._tensor(targets[part]),
                self._tensor(vectors[part]),
                *self.read(drafts[part]),
                num_beams=beams,
                num_return_sequences=beams,
            )
            corrections += _grouped(self._written(ids), beams)
        return corrections

    def encode(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Texts with closing tokens as ids and mask, long [n, max_tokens + 1]."""
        limit = self._generator.config.max_tokens
        cut = {"add_special_tokens": False, "truncation": True, "max_length": limit}
        rows = [
            [*self.tokenizer(text, **cut)["input_ids"], self._generator.eos_token_id]
            for text in texts
        ]
        # Every batch has the same width: rounding depends on it.
        ids = torch.tensor([row + [0] * (limit + 1 - len(row)) for row in rows])
        lengths = torch.tensor([len(row) for row in rows])
        mask = (torch.arange(limit + 1) < lengths[:, None]).long()
        return ids.to(self.device), mask.to(self.device)

    def read(self, drafts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Drafts as the generator was trained to read them: ids and mask, long [n, t]."""
        config = self._generator.config
        ids, mask = self.encode(drafts)
        if not config.reads_written:
            return ids, mask
        length, start = config.max_length, int(self._generator.t5.config.decoder_start_token_id)
        rows = [
            draft.ids if isinstance(draft, Written) else row[keep].tolist()
            for draft, row, keep in zip(drafts, ids.cpu(), mask.cpu().bool(), strict=True)
        ]
        rows = [[start, *row][:length] for row in rows]
        ids = torch.tensor([row + [start] * (length - len(row)) for row in rows])
        return ids.to(self.device), (ids != start).long().to(self.device)

    def _tensor(self, vectors: Sequence[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.stack(vectors).astype(np.float32)).to(self.device, self.dtype)

    def _written(self, ids: Tensor) -> list[str]:
        rows, eos = ids[:, 1:].tolist(), self._generator.eos_token_id
        rows = [row[: row.index(eos) + 1] if eos in row else row for row in rows]
        texts = decode_texts(rows, self.tokenizer, self.embedder) if rows else []
        return [Written(text, row) for text, row in zip(texts, rows, strict=True)]


def _grouped(texts: list[str], size: int) -> list[list[str]]:
    return [texts[i : i + size] for i in range(0, len(texts), size)]
