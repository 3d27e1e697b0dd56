"""The texts that a network learns from: crops, whole sentences and made-up lines, by step."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from nanov2t.core.errors import UserError
from nanov2t.core.passages import read_passages
from nanov2t.train.config import DataConfig
from nanov2t.train.data import Corpus, Crops
from nanov2t.train.lines import Lines
from nanov2t.train.network_config import NetworkConfig, TextConfig
from nanov2t.train.schedule import Schedule

STOPS = (".", "!", "?")
"""Tokens that end a sentence."""
DEV_LENGTHS = (8, 16, 32)
"""Tokens of the dev texts."""


def padded(rows: Sequence[Sequence[int]], fill: int) -> Tensor:
    """Rows of ids as long [n, t], filled up to the longest one."""
    full = torch.full((len(rows), max(map(len, rows))), fill)
    for i, row in enumerate(rows):
        full[i, : len(row)] = torch.tensor(row, dtype=torch.long)
    return full


def dev_texts(config: TextConfig, tokenizer: Any, limit: int) -> dict[int, list[list[int]]]:
    """The first tokens of `limit` texts that no run trains on, as many as DEV_LENGTHS say, without
    those that are shorter, by their length.

    Raises:
        UserError: all of them are shorter.
    """
    passages = read_passages(config.dev or config.train, "dev")
    texts = list(itertools.islice(passages, limit))
    rows = tokenizer(texts, add_special_tokens=False)["input_ids"]
    lengths = [min(length, config.max_tokens) for length in DEV_LENGTHS]
    found = {length: [row[:length] for row in rows if len(row) >= length] for length in lengths}
    if not any(found.values()):
        raise UserError(f"{config.dev or config.train}: no text has {min(lengths)} tokens")
    return {length: rows for length, rows in found.items() if rows}


class TextSource:
    """Texts as token ids, without special tokens, of `schedule.length` tokens at most.

    Args:
        going_on, rounds: see :class:`~nanov2t.train.schedule.Schedule`.

    Raises:
        UserError: the text cannot be had, or there are more processes than texts in a step.
    """

    def __init__(
        self,
        config: NetworkConfig,
        tokenizer: Any,
        accelerator: Accelerator,
        going_on: float = 0.0,
        rounds: int = 1,
    ):
        data, optim = config.data, config.optim
        self.config, self.tokenizer, self.seed = data, tokenizer, config.seed
        self.schedule = Schedule(
            data, optim.tokens, optim.steps, config.seed, going_on=going_on, rounds=rounds
        )
        if self.schedule.size.min() < accelerator.num_processes:
            raise UserError(f"optim.tokens {optim.tokens} are too few for so many processes")
        with accelerator.main_process_first():
            self.corpus = Corpus.load(data.train, tokenizer, data.cache)
        cropping = DataConfig(max_tokens=data.max_tokens, min_tokens=data.min_tokens)
        self.crops = Crops(self.corpus, cropping, tokenizer, "all", config.seed)
        self.mine = slice(accelerator.process_index, None, accelerator.num_processes)
        """This process's share of the texts of a step."""
        self.stops = tokenizer.convert_tokens_to_ids(list(STOPS))

    def at(self, step: int) -> list[list[int]]:
        """All texts of a step, whatever the number of processes."""
        begun = step - int(self.schedule.round[step])
        length, size = int(self.schedule.length[begun]), int(self.schedule.size[begun])
        rng = np.random.default_rng([self.seed, 1, begun])
        passage, start, lengths = self.crops.cut(
            self.schedule.texts(begun), np.full(size, length), rng
        )
        kind = rng.random(size)
        config, lines = self.config, Lines(rng)
        rows = []
        for i in range(size):
            row = self.corpus.tokens[start[i] : start[i] + lengths[i]].tolist()
            if kind[i] < config.lines:
                row = self._line(lines, length) or row
            elif kind[i] < config.lines + config.sentences:
                row = self._sentences(int(passage[i]), int(start[i]), length)
            rows.append(row)
        return rows

    def _line(self, lines: Lines, length: int) -> list[int]:
        tokenizer = self.tokenizer
        ids = tokenizer(lines.draw(), add_special_tokens=False)["input_ids"][:length]
        return [] if tokenizer.unk_token_id in ids else ids

    def _sentences(self, passage: int, place: int, length: int) -> list[int]:
        """From the beginning of the sentence at a place of the corpus on, as many whole ones as
        there is room for, or as much of the one."""
        first, last = self.corpus.offsets[passage], self.corpus.offsets[passage + 1]
        ends = 1 + first + np.flatnonzero(np.isin(self.corpus.tokens[first:last], self.stops))
        start = max(ends[(ends <= place) & (ends < last)], default=first)
        closed = ends[(ends > start) & (ends <= start + length)]
        end = closed[-1] if len(closed) else min(start + length, last)
        row: list[int] = self.corpus.tokens[start:end].tolist()
        return row
