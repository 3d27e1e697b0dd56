"""Passages to crops of token ids and their vectors.

A corpus is tokenised once into a flat memory-mapped array, so memory does not grow with the text.
The crops of a step depend on the seed and the step alone, not on the number of processes or on
interruptions.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from nanov2t.core.errors import UserError, first_line
from nanov2t.core.files import cache_folder, replacing
from nanov2t.core.passages import read_rows
from nanov2t.embedders.base import Embedder
from nanov2t.embedders.sentence import tokenization
from nanov2t.embedders.text import decode_texts

CHUNK = 512
"""Crops embedded at a time."""
PASSAGES = 8192
"""Passages embedded at a time."""
ROWS, VECTORS = "rows.npy", "vectors.npy"


class Corpus:
    """Tokenised passages: `tokens` [total], `offsets` [passages + 1], and `rows` [passages], their
    places among the `row_count` rows of the source; all memory-mapped."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.tokens = np.load(folder / "tokens.npy", mmap_mode="r")
        self.offsets = np.load(folder / "offsets.npy", mmap_mode="r")
        self.rows = np.load(folder / ROWS, mmap_mode="r")[:-1]
        self.row_count = int(np.load(folder / ROWS, mmap_mode="r")[-1])

    @classmethod
    def load(cls, source: str, tokenizer: Any, cache: Path | None = None) -> Corpus:
        """Tokenise the train split of `source`, or find it in the cache by text and tokenizer."""
        content = f"{_content(source)}{tokenization(tokenizer)}"
        key = hashlib.sha256(content.encode()).hexdigest()[:16]
        folder = (cache or cache_folder()) / f"tokens-{key}"
        if not (folder / ROWS).is_file():
            with replacing(folder) as aside:
                _tokenize(read_rows(source), tokenizer, aside)
        return cls(folder)

    def start_vectors(self, embedder: Embedder, tokenizer: Any, max_tokens: int) -> np.ndarray:
        """Vectors of the first `max_tokens` of every passage, float32 [passages, dim],
        memory-mapped and cached."""
        folder = self.folder / f"vectors-{embedder.info.fingerprint}-{max_tokens}"
        if not folder.is_dir():
            with replacing(folder) as aside:
                self._write_start_vectors(aside / VECTORS, embedder, tokenizer, max_tokens)
        vectors: np.ndarray = np.load(folder / VECTORS, mmap_mode="r")
        return vectors

    def _write_start_vectors(
        self, path: Path, embedder: Embedder, tokenizer: Any, max_tokens: int
    ) -> None:
        n = len(self.offsets) - 1
        out = np.lib.format.open_memmap(path, "w+", np.float32, (n, embedder.dim))
        for start in range(0, n, PASSAGES):
            rows = [
                self.tokens[first : min(last, first + max_tokens)]
                for first, last in itertools.pairwise(self.offsets[start : start + PASSAGES + 1])
            ]
            texts = decode_texts(rows, tokenizer, embedder)
            out[start : start + len(rows)] = embedder.encode(texts)
        out.flush()


def _content(source: str) -> str:
    if Path(source).is_file():
        with open(source, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    import datasets

    try:
        return str(datasets.load_dataset(source)["train"]._fingerprint)
    except Exception as error:  # as in read_rows
        raise UserError(f"{source}: no such file or data set: {first_line(error)}") from None


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
    total = sum(lengths)
    if not total:
        raise UserError("the training text holds nothing the tokenizer knows")
    np.save(folder / ROWS, np.array([*rows, count]))
    np.save(folder / "offsets.npy", np.concatenate([[0], np.cumsum(lengths)]))
    out = np.lib.format.open_memmap(folder / "tokens.npy", "w+", kind, (total,))
    out[:] = np.memmap(raw, kind, "r")
    out.flush()
    raw.unlink()


class Crops:
    """The crops of a corpus, drawn by step. An epoch visits every `max_tokens` window of every
    passage once, in an order and at word offsets of its own.

    Args:
        min_tokens, short_share: this share of the crops gets a length between `min_tokens` and
            `max_tokens`.
        start: take the first `max_tokens` of every passage instead.
    """

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
        self.ends = np.cumsum(windows)
        self.starts_word = _starts_word(tokenizer)
        self._order = (-1, np.empty(0, int))

    def __len__(self) -> int:
        return int(self.ends[-1])

    def draw(self, step: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Passages, first tokens (in the flat array) and lengths of the `size` crops of a step, int
        [size] each."""
        length = np.full(size, self.max_tokens)
        if self.start:
            passage, _ = self._windows(step * size, size)
            first, last = self.corpus.offsets[passage], self.corpus.offsets[passage + 1]
            return passage, first, np.minimum(length, last - first)
        rng = np.random.default_rng([self.seed, 1, step])
        short = rng.random(size) < self.short_share
        length[short] = rng.integers(self.min_tokens, self.max_tokens + 1, short.sum())
        return self.cut(step * size, length, rng)

    def cut(
        self, index: int, length: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """As :meth:`draw`, for the windows from `index` on and crops of `length`, int [size], or of
        the whole passage if it is shorter."""
        size, longest = len(length), self.max_tokens
        passage, window = self._windows(index, size)
        first, last = self.corpus.offsets[passage], self.corpus.offsets[passage + 1]
        start = first + window * longest + rng.integers(0, longest, size)
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

    def _windows(self, index: int, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Passage and place in it of the windows from `index` on, int [size] each."""
        windows = np.concatenate([self._window(i, n) for i, n in self._spans(index, size)])
        place = np.searchsorted(self.ends, windows, side="right")
        return place, windows - np.concatenate([[0], self.ends])[place]

    def _spans(self, index: int, count: int) -> Iterator[tuple[int, int]]:
        while count:
            taken = min(count, len(self) - index % len(self))
            yield index, taken
            index, count = index + taken, count - taken

    def _window(self, index: int, count: int) -> np.ndarray:
        epoch, place = divmod(index, len(self))
        if self._order[0] != epoch:
            self._order = (
                epoch,
                np.random.default_rng([self.seed, 0, epoch]).permutation(len(self)),
            )
        return self._order[1][place : place + count]


def _starts_word(tokenizer: Any) -> np.ndarray:
    """Which tokens may begin a crop, bool [vocabulary]: those without ## in WordPiece, those with a
    leading blank in SentencePiece, otherwise all."""
    pieces = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    if any(piece.startswith("##") for piece in pieces):
        return np.array([not piece.startswith("##") for piece in pieces])
    starts = np.array([piece.startswith("\u2581") for piece in pieces])
    return starts if starts.any() else np.ones(len(pieces), bool)


class Embed:
    """Vectors of crops, by token ids if the vocabularies match, else through their text.

    Args:
        rough: multiply in the device's fastest number format, which moves cosines by 5e-4 and
            takes a third of the time in bfloat16.
    """

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
        return torch.from_numpy(
            self.embedder.encode(decode_texts(rows, self.tokenizer, self.embedder))
        ).to(ids.device)

    def _roughly(self, ids: Tensor, mask: Tensor) -> Tensor:
        whole, seen = self.embedder.framed(ids, mask)
        states = self.embedder.states_of_ids(whole, seen).float()
        return self.embedder.of_mean(mean_state(states, seen))


def mean_state(states: Tensor, mask: Tensor) -> Tensor:
    """The mean of the states [n, t, hidden] under a mask [n, t]: [n, hidden]."""
    seen = mask[..., None].float()
    return (states * seen).sum(1) / seen.sum(1)


class Noise:
    """Gaussian noise on vectors; vectors of unit length keep it.

    Args:
        deviation: the standard deviation of every number's.
        normalized: whether vectors have unit length.
    """

    def __init__(self, deviation: float, normalized: bool):
        self.deviation, self.normalized = deviation, normalized

    def __call__(self, vectors: Tensor, size: int, share: slice, key: Sequence[int]) -> Tensor:
        """Vectors [n, dim] with noise, a process's share of the `size` ones of a step. The noise
        depends on the key alone."""
        if not self.deviation:
            return vectors
        rng = np.random.default_rng(key)
        drawn = rng.standard_normal((size, vectors.shape[1]), np.float32)[share]
        noisy = vectors + self.deviation * torch.from_numpy(drawn).to(vectors)
        return F.normalize(noisy, dim=1) if self.normalized else noisy


def padded(rows: Sequence[Sequence[int]], fill: int) -> Tensor:
    """Rows of ids as long [n, t], filled up to the longest one."""
    full = torch.full((len(rows), max(map(len, rows))), fill)
    for i, row in enumerate(rows):
        full[i, : len(row)] = torch.tensor(row, dtype=torch.long)
    return full
