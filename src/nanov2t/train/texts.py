"""The texts of every step of the engine's networks: crops, whole sentences and made-up lines."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from accelerate import Accelerator

from nanov2t.core.errors import UserError
from nanov2t.core.passages import read_passages
from nanov2t.train.config import NetworkConfig, TextConfig
from nanov2t.train.data import Corpus, Crops
from nanov2t.train.lines import Lines

STOPS = (".", "!", "?")
"""Tokens that end a sentence."""
DEV_LENGTHS = (8, 16, 32)
"""Tokens of the dev texts."""
BESIDE = 10
"""Tokens of a network's input besides the words of a text."""


class Schedule:
    """What the steps of a run are made of, fixed by the settings and the seed: how long texts, how
    many, and which steps go on with the texts of the one before.

    Args:
        tokens: of a step.
        going_on: share of the steps that the next one goes on with.
        rounds: steps at most on the same texts.

    Attributes:
        length: int [steps], tokens of the longest text of a step.
        size: int [steps], texts of a step.
        round: int [steps], how many steps before had the same texts.
    """

    def __init__(
        self,
        data: TextConfig,
        tokens: int,
        steps: int,
        seed: int,
        going_on: float = 0.0,
        rounds: int = 1,
    ):
        rng = np.random.default_rng([seed, 0])
        drawn = np.where(
            rng.random(steps) < 0.5,
            rng.choice(data.lengths, steps),
            rng.integers(data.min_tokens, data.max_tokens + 1, steps),
        )
        goes_on = rng.random(steps) < going_on
        self.round = np.zeros(steps, int)
        for step in range(1, steps):
            if goes_on[step] and self.round[step - 1] + 1 < rounds:
                self.round[step] = self.round[step - 1] + 1
        self.length = drawn[np.arange(steps) - self.round]
        self.size = np.maximum(1, tokens // (self.length + BESIDE))
        self._before = np.concatenate([[0], np.cumsum(self.size)])
        self._texts_before = np.concatenate([[0], np.cumsum(self.size * (self.round == 0))])

    def examples(self, step: int) -> int:
        """How many are in the steps before `step`."""
        return int(self._before[step])

    def texts(self, step: int) -> int:
        """How many texts are begun with in the steps before `step`."""
        return int(self._texts_before[step])

    def goes_on(self, step: int) -> bool:
        """Whether the step after `step` has the same texts."""
        return step + 1 < len(self.round) and bool(self.round[step + 1])


def dev_texts(config: TextConfig, tokenizer: Any, limit: int) -> dict[int, list[list[int]]]:
    """The beginnings of `limit` texts that no run trains on, by their DEV_LENGTHS; shorter texts
    are left out.

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
    """Texts as token ids without special tokens, at most `schedule.length` of them.

    Args:
        going_on, rounds: see :class:`Schedule`.

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
        self.crops = Crops(self.corpus, tokenizer, config.seed, data.max_tokens)
        self.mine = slice(accelerator.process_index, None, accelerator.num_processes)
        """This process's share of the texts of a step."""
        self.stops = tokenizer.convert_tokens_to_ids(list(STOPS))

    def at(self, step: int) -> list[list[int]]:
        """All texts of a step, those of other processes too."""
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
        first, last = self.corpus.offsets[passage], self.corpus.offsets[passage + 1]
        ends = 1 + first + np.flatnonzero(np.isin(self.corpus.tokens[first:last], self.stops))
        start = max(ends[(ends <= place) & (ends < last)], default=first)
        closed = ends[(ends > start) & (ends <= start + length)]
        end = closed[-1] if len(closed) else min(start + length, last)
        row: list[int] = self.corpus.tokens[start:end].tolist()
        return row
