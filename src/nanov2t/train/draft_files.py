"""Drafts that stand in files, one of every passage, for a corrector to learn from."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from nanov2t.core.drafts import drafts_of
from nanov2t.core.errors import UserError
from nanov2t.core.files import replacing
from nanov2t.embedders.base import Embedder
from nanov2t.embedders.sentence import tokenization
from nanov2t.models.generator import Generator
from nanov2t.train.data import PASSAGES, VECTORS, Corpus
from nanov2t.train.drafting import read_facts
from nanov2t.train.examples import Examples

IDS = "ids.npy"
NOTHING = -1
"""Fills up rows of ids behind the closing token."""


class FiledDrafts:
    """The drafts of a corpus's passages: ids and vectors, memory-mapped and cached beside it."""

    def __init__(
        self, path: Path, examples: Examples, corpus: Corpus, eos: int, accelerator: Accelerator
    ):
        self.examples, self.device = examples, accelerator.device
        embed, longest = examples.embed, examples.max_tokens
        check_facts(path, embed.embedder, longest)
        with accelerator.main_process_first():
            folder = _cached(path, corpus, embed.embedder, embed.tokenizer, longest, eos)
        self.ids = np.load(folder / IDS, mmap_mode="r")
        self.vectors = np.load(folder / VECTORS, mmap_mode="r")

    def at(self, step: int, current: Callable[[], Generator]) -> dict[str, Tensor]:
        """The examples of a step, as those of a :class:`~nanov2t.train.drafts.DraftPool`."""
        examples = self.examples
        batch = examples.batch("corrector", step, examples.mine)
        vectors = torch.from_numpy(self.vectors[batch.passages]).to(self.device)
        ids = torch.from_numpy(self.ids[batch.passages].astype(np.int64)).to(self.device)
        return {
            "ids": batch.ids,
            "mask": batch.mask,
            "vectors": batch.vectors,
            "draft_ids": ids.clamp(min=0),
            "draft_mask": (ids != NOTHING).long(),
            "draft_vectors": examples.with_noise(
                vectors, "drafts", step, examples.drafted, examples.mine
            ),
        }


def check_facts(path: Path, embedder: Embedder, max_tokens: int) -> None:
    """Refuse drafts of another embedder's vectors, or of texts cut at another place, where their
    file says so.

    Raises:
        UserError: they are, or what is known of them cannot be read.
    """
    facts = read_facts(path) or {}
    other = facts.get("embedder", {}).get("fingerprint", embedder.info.fingerprint)
    if other != embedder.info.fingerprint:
        raise UserError(f"{path}: drafts of vectors of {facts['embedder']['name']} {other}")
    if (cut := facts.get("max_tokens", max_tokens)) != max_tokens:
        raise UserError(f"{path}: drafts of texts of {cut} tokens, not {max_tokens}")


def _cached(
    path: Path, corpus: Corpus, embedder: Embedder, tokenizer: Any, max_tokens: int, eos: int
) -> Path:
    """The folder with the drafts in `path`, of the passages of a corpus, as arrays: ids [passages,
    max_tokens + 1] and vectors [passages, dim]."""
    digest = hashlib.sha256(f"{tokenization(tokenizer)}{eos}".encode())
    try:
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    key = f"{embedder.info.fingerprint}-{max_tokens}-{digest.hexdigest()[:16]}"
    folder = corpus.folder / f"drafts-{key}"
    if folder.is_dir():
        return folder
    wanted = corpus.rows.tolist()
    drafts = drafts_of(path, range(corpus.row_count), wanted)
    with replacing(folder) as aside:
        vectors = np.lib.format.open_memmap(
            aside / VECTORS, "w+", np.float32, (len(wanted), embedder.dim)
        )
        ids = np.lib.format.open_memmap(aside / IDS, "w+", np.int32, (len(wanted), max_tokens + 1))
        for start in range(0, len(drafts), PASSAGES):
            part = drafts[start : start + PASSAGES]
            cut = {"truncation": True, "max_length": max_tokens}
            rows = tokenizer(part, add_special_tokens=False, **cut)["input_ids"]
            for i, row in enumerate(rows, start):
                ids[i] = [*row, eos, *itertools.repeat(NOTHING, max_tokens - len(row))]
            vectors[start : start + len(part)] = embedder.encode(part)
        ids.flush()
        vectors.flush()
    return folder
