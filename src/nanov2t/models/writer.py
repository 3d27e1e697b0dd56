"""A generator as searches use it: vectors and texts in, texts out."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from nanov2t.embedders.base import Embedder
from nanov2t.embedders.text import decode_texts
from nanov2t.fast.numbers import search_dtype
from nanov2t.fast.packed import packed
from nanov2t.models.generator import Generator

ROWS = {"cpu": 64, "cuda": 1024}
"""Hypotheses that pass through a generator at a time: enough to keep a device busy."""


class HypothesisWriter(Protocol):
    """What searches that rewrite hypotheses need."""

    device: torch.device
    batches: bool
    """Whether many targets may be written for at once. False where, to the last bit, what is
    written for one could depend on the others."""

    def hypothesize(self, targets: Sequence[np.ndarray], beams: int) -> list[list[str]]:
        """First guesses for each target: see :meth:`Writer.hypothesize`."""

    def correct(
        self,
        targets: Sequence[np.ndarray],
        drafts: Sequence[str],
        vectors: Sequence[np.ndarray],
        beams: int,
    ) -> list[list[str]]:
        """Corrections of each draft: see :meth:`Writer.correct`."""


class Written(str):
    """A text, with the token ids that it was written in: another row of ids may say the same."""

    ids: list[int]
    """With the closing token, where it was written, and without the start token."""

    def __new__(cls, text: str, ids: list[int]) -> Written:
        written = super().__new__(cls, text)
        written.ids = ids
        return written


class Writer:
    """A generator with its tokenizer. What it writes is as the embedder sees it.

    It works on a copy of the generator, in the number format and the layout that the device
    multiplies fastest, unless the generator is to take the plain path of transformers.
    """

    batches = True

    def __init__(self, generator: Generator, tokenizer: Any, embedder: Embedder):
        self._generator, self.tokenizer, self.embedder = generator, tokenizer, embedder
        self.device = generator.device
        self.dtype = search_dtype(self.device) if generator.fast else generator.dtype
        self.rows = ROWS.get(self.device.type, ROWS["cpu"])
        self.logit_rows = self.rows // 8
        """As `rows`, where the logits of all words at all places are made at once."""

    @cached_property
    def generator(self) -> Generator:
        """The copy that writes."""
        if not self._generator.fast:
            return self._generator
        same = self._generator.dtype == self.dtype
        return packed(self._generator if same else copy.deepcopy(self._generator).to(self.dtype))

    @torch.inference_mode()
    def hypothesize(self, targets: Sequence[np.ndarray], beams: int) -> list[list[str]]:
        """The `beams` best first guesses for each target, float32 [dim], best first."""
        ids = self.generator.generate(
            self.tensor(targets), num_beams=beams, num_return_sequences=beams
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
                self.tensor(targets[part]),
                self.tensor(vectors[part]),
                *self.read(drafts[part]),
                num_beams=beams,
                num_return_sequences=beams,
            )
            corrections += _grouped(self._written(ids), beams)
        return corrections

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Token ids to texts as the embedder sees them."""
        return decode_texts(ids, self.tokenizer, self.embedder) if ids else []

    def encode(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Texts to ids and mask, long [n, max_tokens + 1], each with its closing token: of one
        length always, for sums over the longest of a batch are rounded as that one's length would
        have it."""
        limit = self._generator.config.max_tokens
        rows = [
            self.tokenizer(t, add_special_tokens=False, truncation=True, max_length=limit)[
                "input_ids"
            ]
            + [self._generator.eos_token_id]
            for t in texts
        ]
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

    def tensor(self, vectors: Sequence[np.ndarray]) -> Tensor:
        """Vectors, float32 [dim] each, as the generator takes them: [n, dim]."""
        return torch.from_numpy(np.stack(vectors).astype(np.float32)).to(self.device, self.dtype)

    def _written(self, ids: Tensor) -> list[str]:
        """What :meth:`Generator.generate` returned, as texts that know their ids."""
        rows, eos = ids[:, 1:].tolist(), self._generator.eos_token_id
        rows = [row[: row.index(eos) + 1] if eos in row else row for row in rows]
        return [Written(t, row) for t, row in zip(self.decode(rows), rows, strict=True)]


def _grouped(texts: list[str], size: int) -> list[list[str]]:
    """Rows of `size` texts."""
    return [texts[i : i + size] for i in range(0, len(texts), size)]
