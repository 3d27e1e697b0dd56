"""Make an embedder's dictionary from text, in minutes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nanov2t.core.errors import UserError
from nanov2t.embedders.base import Embedder
from nanov2t.embedders.text import decode_texts
from nanov2t.models.dictionary import Dictionary, study
from nanov2t.train.data import Corpus, Crops

STEP = 128
"""Crops whose states are made at a time."""
LONGEST = 32
"""Tokens of the longest crop."""
CHECKED = 8
"""Steps of further crops on which the dictionary is checked."""


class Findings(NamedTuple):
    """A dictionary, and the share of the states' variance that its averages leave on other crops,
    without and with each text's offset."""

    dictionary: Dictionary
    left: float
    left_with_offset: float


def study_embedder(embedder: Embedder, texts: str, crops: int, cache: Path | None) -> Findings:
    """Learn the dictionary of an embedder from `crops` crops of 4 to 32 tokens of a text.

    Raises:
        UserError: the embedder does not show its states, or there is too little text.
    """
    if not embedder.has_states:
        raise UserError(f"{embedder.name}: does not show hidden states whose mean is its vector")
    corpus = Corpus.load(texts, embedder.tokenizer, cache)
    drawn = Crops(corpus, embedder.tokenizer, 0, LONGEST, short_share=0.5)
    steps = max(1, crops // STEP)
    words: Any = embedder.model[0].model.get_input_embeddings().weight
    batches = (b for step in range(steps) for b in _states(embedder, drawn, step))
    dictionary = study(embedder.info, words.detach(), batches)
    total = left = with_offset = torch.zeros(())
    checked = (_states(embedder, drawn, steps + i) for i in range(CHECKED))
    for ids, states in itertools.chain.from_iterable(checked):
        rest = states - dictionary.states[ids]
        total = total + (states - states.mean((0, 1))).square().sum()
        left = left + rest.square().sum()
        t = ids.shape[1]
        apart = (rest - rest.mean(1, keepdim=True)).square().sum()
        with_offset = with_offset + apart * t / (t - 1)
    return Findings(dictionary, float(left / total), float(with_offset / total))


def _states(embedder: Embedder, crops: Crops, step: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Ids, long [m, t], and states, float32 [m, t, d], of the crops of a step, by length."""
    ids, mask, _ = crops.ids(step, STEP)
    rows = [row[keep].tolist() for row, keep in zip(ids, mask.bool(), strict=True)]
    texts = decode_texts(rows, embedder.tokenizer, embedder)
    for _, known, states in embedder.states_by_length([text for text in texts if text]):
        yield known.cpu(), states.float().cpu()
