"""Passages to crops of token ids and their vectors. The seed and the step alone decide the crops of
a step, whatever the number of processes."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from nanov2t.core.errors import UserError, first_line
from nanov2t.core.files import cache_folder, replacing
from nanov2t.core.passages import read_rows
from nanov2t.embedders.base import Embedder
from nanov2t.embedders.sentence import tokenization
from nanov2t.embedders.text import decode_texts

CHUNK, PASSAGES = 512, 8192
"""Crops and passages embedded at a time."""
ROWS, VECTORS = "rows.npy", "vectors.npy"
Places = tuple[np.ndarray, np.ndarray, np.ndarray]


class Corpus:
    """Tokenised passages, memory-mapped: `tokens` [total], `offsets` [passages + 1], and `rows`
    [passages], their places among the `row_count` rows of the source."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.tokens = np.load(folder / "tokens.npy", mmap_mode="r")
        self.offsets = np.load(folder / "offsets.npy", mmap_mode="r")
        rows = np.load(folder / ROWS, mmap_mode="r")
        self.rows, self.row_count = rows[:-1], int(rows[-1])

    @classmethod
    def load(cls, source: str, tokenizer: Any, cache: Path | None = None) -> Corpus:
        """Tokenise the train split of `source`, or find it in the cache."""
        if Path(source).is_file():
            content = file_hash(Path(source))
        else:
            import datasets

            try:
                content = str(datasets.load_dataset(source)["train"]._fingerprint)
            except Exception as error:  # as in read_rows
                message = f"{source}: no such file or data set: {first_line(error)}"
                raise UserError(message) from None
        key = hashlib.sha256(f"{content}{tokenization(tokenizer)}".encode()).hexdigest()[:16]
        folder = (cache or cache_folder()) / f"tokens-{key}"
        if not (folder / ROWS).is_file():
            with replacing(folder) as aside:
                _tokenize(read_rows(source), tokenizer, aside)
        return cls(folder)

    def start_vectors(self, embedder: Embedder, tokenizer: Any, max_tokens: int) -> np.ndarray:
        """Cached vectors of the first `max_tokens` of every passage, float32 [passages, dim]."""
        folder = self.folder / f"vectors-{embedder.info.fingerprint}-{max_tokens}"
        if not folder.is_dir():
            with replacing(folder) as aside:
                shape = (len(self.offsets) - 1, embedder.dim)
                out = np.lib.format.open_memmap(aside / VECTORS, "w+", np.float32, shape)
                for start in range(0, len(out), PASSAGES):
                    spans = itertools.pairwise(self.offsets[start : start + PASSAGES + 1])
                    rows = [self.tokens[i : min(j, i + max_tokens)] for i, j in spans]
                    texts = decode_texts(rows, tokenizer, embedder)
                    out[start : start + len(rows)] = embedder.encode(texts)
                out.flush()
        vectors: np.ndarray = np.load(folder / VECTORS, mmap_mode="r")
        return vectors


def file_hash(path: Path) -> str:
    """The SHA-256 of a file; a UserError if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None


def _tokenize(texts: Iterator[str], tokenizer: Any, folder: Path) -> None:
    kind = np.uint16 if len(tokenizer) <= 1 << 16 else np.int32
    lengths, rows, count = [], [], 0
    raw = folder / "tokens.raw"
    with open(raw, "wb") as file:
        while chunk := list(itertools.islice(texts, 4096)):
            known = tokenizer(chunk, add_special_tokens=False, verbose=False)["input_ids"]
            for i, ids in enumerate(known, count):
                row = np.array(ids, kind)
                # Text behind unknown tokens cannot be written.
                row = row[row != tokenizer.unk_token_id]
                if len(row):
                    rows.append(i)
                    lengths.append(len(row))
                    file.write(row.tobytes())
            count += len(chunk)
    if not rows:
        raise UserError("the training text holds nothing the tokenizer knows")
    np.save(folder / ROWS, np.array([*rows, count]))
    np.save(folder / "offsets.npy", np.concatenate([[0], np.cumsum(lengths)]))
    np.save(folder / "tokens.npy", np.memmap(raw, kind, "r"))
    raw.unlink()


class Crops:
    """The crops of a corpus, by step. An epoch visits every window of `max_tokens` of every passage
    once, in a new order and at new word offsets; with `start`, the first window of every passage.
    `short_share` of the crops have any length from `min_tokens` on."""

    def __init__(
        self,
        corpus: Corpus,
        tokenizer: Any,
        seed: int,
        max_tokens: int,
        min_tokens: int = 4,
        short_share: float = 0.0,
        start: bool = False,
    ):
        self.corpus, self.seed, self.start = corpus, seed, start
        self.max_tokens, self.min_tokens, self.short_share = max_tokens, min_tokens, short_share
        lengths = np.diff(corpus.offsets)
        windows = np.ones_like(lengths) if start else -(-lengths // max_tokens)
        self.firsts = np.concatenate([[0], np.cumsum(windows)])  # each passage's first window
        # WordPiece marks tokens inside words by ##, SentencePiece those that begin one by a blank.
        pieces = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
        inside = np.array([piece.startswith("##") for piece in pieces])
        blank = np.array([piece.startswith("\u2581") for piece in pieces])
        self.starts_word = blank if blank.any() and not inside.any() else ~inside
        self._order = lru_cache(1)(
            lambda epoch: np.random.default_rng([seed, 0, epoch]).permutation(len(self))
        )

    def __len__(self) -> int:
        return int(self.firsts[-1])

    def draw(self, step: int, size: int) -> Places:
        """The passages, the places of the first tokens in the corpus, and the lengths of a step's
        crops, int [size] each."""
        rng, length = np.random.default_rng([self.seed, 1, step]), np.full(size, self.max_tokens)
        short = rng.random(size) < (0 if self.start else self.short_share)
        length[short] = rng.integers(self.min_tokens, self.max_tokens + 1, short.sum())
        return self.cut(step * size, length, rng)

    def cut(self, index: int, length: np.ndarray, rng: np.random.Generator) -> Places:
        """As :meth:`draw`, for the windows from `index` on. The crops have a `length`, int [size],
        or that of their passage if it is shorter."""
        epoch, place = np.divmod(np.arange(index, index + len(length)), len(self))
        windows = np.concatenate([self._order(e)[place[epoch == e]] for e in np.unique(epoch)])
        passage = np.searchsorted(self.firsts, windows, side="right") - 1
        first, last = self.corpus.offsets[passage], self.corpus.offsets[passage + 1]
        start = first
        if not self.start:
            start = first + (windows - self.firsts[passage]) * self.max_tokens
            start = start + rng.integers(0, self.max_tokens, len(length))
        start = np.maximum(first, np.minimum(start, last - length))
        while (inside := (start > first) & ~self.starts_word[self.corpus.tokens[start]]).any():
            start = start - inside
        return passage, start, np.minimum(length, last - start)

    def ids(
        self, step: int, size: int, part: slice = slice(None)
    ) -> tuple[Tensor, Tensor, np.ndarray]:
        """Token ids and mask, long [n, t], and passages, int [n], of a part of a step's crops."""
        passage, start, length = (x[part] for x in self.draw(step, size))
        columns = np.arange(self.max_tokens)
        mask = columns < length[:, None]
        positions = np.minimum(start[:, None] + columns, len(self.corpus.tokens) - 1)
        ids = np.where(mask, self.corpus.tokens[positions].astype(np.int64), 0)
        return torch.from_numpy(ids), torch.from_numpy(mask.astype(np.int64)), passage


class Embed:
    """Embeds crops: their token ids if the vocabularies match, else their text. `rough` uses the
    device's fastest number format; bfloat16 takes a third of the time and moves cosines by 5e-4."""

    def __init__(self, embedder: Embedder, tokenizer: Any, rough: bool = False):
        self.embedder, self.tokenizer = embedder, tokenizer
        self.direct = embedder.reads(tokenizer)
        self.encode = self._roughly if rough and embedder.has_states else embedder.encode_ids

    def __call__(self, ids: Tensor, mask: Tensor) -> Tensor:
        """float32 [n, dim] for ids and mask, long [n, t], on their device."""
        if self.direct:
            parts = zip(torch.split(ids, CHUNK), torch.split(mask, CHUNK), strict=True)
            return torch.cat([self.encode(i, m) for i, m in parts])
        rows = [row[keep].tolist() for row, keep in zip(ids.cpu(), mask.cpu().bool(), strict=True)]
        texts = decode_texts(rows, self.tokenizer, self.embedder)
        return torch.from_numpy(self.embedder.encode(texts)).to(ids.device)

    def _roughly(self, ids: Tensor, mask: Tensor) -> Tensor:
        return read(self.embedder, *self.embedder.framed(ids, mask))[1]


def read(embedder: Embedder, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """States [n, t, hidden] and vectors, float32 [n, dim], of padded ids with special tokens."""
    states, seen = embedder.states_of_ids(ids, mask), mask[..., None].float()
    return states, embedder.of_mean((states.float() * seen).sum(1) / seen.sum(1))


class Noise:
    """Gaussian noise on vectors; `normalized` ones keep their length."""

    def __init__(self, deviation: float, normalized: bool):
        self.deviation, self.normalized = deviation, normalized

    def __call__(self, vectors: Tensor, size: int, share: slice, key: Sequence[int]) -> Tensor:
        """Add noise, which depends on the key alone, to a process's share [n, dim] of `size`
        vectors."""
        if not self.deviation:
            return vectors
        rng = np.random.default_rng(key)
        drawn = rng.standard_normal((size, vectors.shape[1]), np.float32)[share]
        noisy = vectors + self.deviation * torch.from_numpy(drawn).to(vectors)
        return F.normalize(noisy, dim=1) if self.normalized else noisy


def padded(rows: Sequence[Sequence[int]], fill: int) -> Tensor:
    """Rows of ids as long [n, t], filled up to the longest."""
    ids = [torch.tensor(row, dtype=torch.long) for row in rows]
    return pad_sequence(ids, batch_first=True, padding_value=fill)
