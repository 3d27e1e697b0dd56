"""What the engine's networks learn from in each step: crops, whole sentences and made-up lines."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
import yaml
from accelerate import Accelerator

from nanov2t.core.errors import UserError
from nanov2t.core.passages import read_passages
from nanov2t.train.config import EditDrafts, EditRecipe, NetworkConfig, TextConfig
from nanov2t.train.data import Corpus, Crops

STOPS = (".", "!", "?")  # tokens that end a sentence
DEV_LENGTHS = (8, 16, 32)  # tokens of the dev texts
BESIDE = 10  # tokens of a network's input besides the words of a text
NUMBERS = {"day": range(1, 29), "year": range(1930, 2030), "house": range(1, 400)}
RECORD = ("phone", "mail", "date", "address")  # kinds of lines that may follow a name


def dev_texts(config: TextConfig, tokenizer: Any, limit: int) -> dict[int, list[list[int]]]:
    """The beginnings of at most `limit` texts that no run trains on, by length in tokens. Raises a
    UserError if all texts are too short."""
    source = config.dev or config.train
    texts = list(itertools.islice(read_passages(source, "dev"), limit))
    rows = tokenizer(texts, add_special_tokens=False)["input_ids"]
    lengths = [min(length, config.max_tokens) for length in DEV_LENGTHS]
    found = {length: [row[:length] for row in rows if len(row) >= length] for length in lengths}
    if not any(found.values()):
        raise UserError(f"{source}: no text has {min(lengths)} tokens")
    return {length: rows for length, rows in found.items() if rows}


class TextSource:
    """The texts of each step, as token ids without special tokens. They depend on the settings and
    the seed alone.

    For each step, int: `length` of its longest text, `size` in texts, `seen`, the number of
    examples before it, and `round`, the number of steps before it with the same texts. `mine` is
    this process's share of the texts.
    """

    def __init__(self, config: NetworkConfig, tokenizer: Any, accelerator: Accelerator):
        data, steps = config.data, config.optim.steps
        self.config, self.tokenizer, self.seed = data, tokenizer, config.seed
        rng = np.random.default_rng([config.seed, 0])
        drawn = np.where(
            rng.random(steps) < 0.5,
            rng.choice(data.lengths, steps),
            rng.integers(data.min_tokens, data.max_tokens + 1, steps),
        )
        once = EditDrafts(going_on=0, rounds=1)
        drafts = config.drafts if isinstance(config, EditRecipe) else once
        goes_on = rng.random(steps) < drafts.going_on
        self.round = np.zeros(steps + 1, int)
        for step in range(1, steps):
            if goes_on[step] and self.round[step - 1] + 1 < drafts.rounds:
                self.round[step] = self.round[step - 1] + 1
        self.length = drawn[np.arange(steps) - self.round[:-1]]
        self.size = np.maximum(1, config.optim.tokens // (self.length + BESIDE))
        self.seen = np.concatenate([[0], np.cumsum(self.size)])
        self._begun_before = np.concatenate([[0], np.cumsum(self.size * (self.round[:-1] == 0))])
        if self.size.min() < accelerator.num_processes:
            raise UserError(f"optim.tokens {config.optim.tokens} are too few for so many processes")
        with accelerator.main_process_first():
            self.corpus = Corpus.load(data.train, tokenizer, data.cache)
        self.crops = Crops(self.corpus, tokenizer, config.seed, data.max_tokens)
        self.mine = slice(accelerator.process_index, None, accelerator.num_processes)
        self.stops = tokenizer.convert_tokens_to_ids(list(STOPS))

    def at(self, step: int) -> list[list[int]]:
        """The texts of a step, of all processes."""
        begun = step - self.round[step]
        length, size = int(self.length[begun]), int(self.size[begun])
        rng = np.random.default_rng([self.seed, 1, begun])
        crops = self.crops.cut(int(self._begun_before[begun]), np.full(size, length), rng)
        rows, lines, sentences = [], self.config.lines, self.config.sentences
        for kind, passage, start, n in zip(rng.random(size), *crops, strict=True):
            row = self.corpus.tokens[start : start + n].tolist()
            if kind < lines:
                line = self.tokenizer(made_up(rng), add_special_tokens=False)["input_ids"]
                row = row if self.tokenizer.unk_token_id in line[:length] else line[:length]
            elif kind < lines + sentences:
                row = self._sentences(passage, start, length)
            rows.append(row)
        return rows

    def _sentences(self, passage: int, place: int, length: int) -> list[int]:
        first, last = self.corpus.offsets[passage], self.corpus.offsets[passage + 1]
        ends = 1 + first + np.flatnonzero(np.isin(self.corpus.tokens[first:last], self.stops))
        start = max(ends[(ends <= place) & (ends < last)], default=first)
        closed = ends[(ends > start) & (ends <= start + length)]
        end = closed[-1] if len(closed) else min(start + length, last)
        return [int(token) for token in self.corpus.tokens[start:end]]


def made_up(rng: np.random.Generator) -> str:
    """A random line that should not leak: a name, a number, a password and the like."""
    words, forms = _lines()

    def pick(choices: Sequence[Any]) -> str:
        return str(choices[int(rng.integers(len(choices)))])

    def fill(kind: str) -> str:
        form = re.sub(r"{(\w+)}", lambda match: pick(words[match[1]]), pick(forms[kind]))
        line = re.sub("#", lambda _: str(rng.integers(10)), form)
        return line.lower() if kind == "mail" else line

    kind = pick([*forms, "record"])
    if kind != "record":
        return fill(kind)
    return fill("name") + pick([", ", " - ", ": "]) + fill(pick(RECORD))


@cache
def _lines() -> tuple[dict[str, Sequence[Any]], dict[str, list[str]]]:
    """Lists of words by name, and forms by kind."""
    path = resources.files("nanov2t.train") / "lines.yaml"
    read = yaml.safe_load(path.read_text(encoding="utf-8"))
    words = {name: words.split() for name, words in read["lists"].items()}
    parts = {kind: (x["leads"], x["forms"]) for kind, x in read["forms"].items()}
    forms = {kind: ["".join(x) for x in itertools.product(*parts[kind])] for kind in parts}
    return words | NUMBERS, forms
