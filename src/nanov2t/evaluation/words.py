"""The words that a vector seems to hold, by the lexical guess of an inverter's networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nanov2t.core.errors import UserError
from nanov2t.inverter import Inverter
from nanov2t.models.generator import Generator
from nanov2t.models.prefix_lm import PrefixLM
from nanov2t.targets import prepare_targets

COUNT = 20
"""Words that are looked at."""
ROWS = 256
"""Vectors whose words are guessed at a time: a guess is of the whole vocabulary."""


class Word(NamedTuple):
    """A word of the vocabulary, or a piece of one."""

    text: str
    """As the tokenizer writes it."""
    share: float
    """Of the text's words, by the guess."""
    id: int


def guesses_words(inverter: Inverter) -> bool:
    """Whether there is a network with a lexical guess."""
    return _guesser(inverter) is not None


def likeliest_words(
    inverter: Inverter, vectors: np.ndarray, count: int = COUNT
) -> list[list[Word]]:
    """The `count` likeliest words of each vector, float32 [n, dim], likeliest first.

    Raises:
        UserError: no network has a lexical guess, or a vector cannot be inverted.
    """
    network = _guesser(inverter)
    if network is None:
        raise UserError("the inverter has no lexical head, which would guess words")
    targets = prepare_targets(vectors, inverter.embedder.info, inverter.defence)
    stacked = torch.from_numpy(np.stack([target.vector for target in targets]))
    return [row for part in stacked.split(ROWS) for row in _words(inverter, network, part, count)]


def word_figures(
    inverter: Inverter, vectors: np.ndarray, references: Sequence[str]
) -> dict[str, float]:
    """How well the COUNT likeliest words of vectors, float32 [n, dim], are those of their texts:
    precision, the share of them that a text holds, and recall, the share of its different words
    that is among them; 0 to 100, averaged over the texts."""
    precision, recall = [], []
    known = inverter.tokenizer(list(references), add_special_tokens=False)["input_ids"]
    for words, row in zip(likeliest_words(inverter, vectors), known, strict=True):
        right = len({word.id for word in words} & set(row))
        precision.append(100 * right / len(words))
        recall.append(100 * right / len(set(row)))
    return {
        "count": COUNT,
        "precision": float(np.mean(precision)),
        "recall": float(np.mean(recall)),
    }


def _guesser(inverter: Inverter) -> Generator | PrefixLM | None:
    for network in (inverter.hypothesizer, inverter.corrector):
        if isinstance(network, PrefixLM):
            return network
        if isinstance(network, Generator) and network.lexical is not None:
            return network
    return None


@torch.inference_mode()
def _words(
    inverter: Inverter, network: Generator | PrefixLM, vectors: Tensor, count: int
) -> list[list[Word]]:
    if isinstance(network, PrefixLM):
        assert inverter.dictionary is not None
        device = network.bias.device
        frequency = inverter.dictionary.log_frequency.to(device)
        odds = network.guess(vectors.to(device)) + frequency
    else:
        assert network.lexical is not None
        odds = network.lexical.guess(vectors.to(network.device, network.dtype))
    tokenizer = inverter.tokenizer
    odds[:, [i for i in tokenizer.all_special_ids if i < odds.shape[1]]] = -torch.inf
    shares, ids = odds.softmax(-1).topk(min(count, odds.shape[1]), -1)
    return [
        [
            Word(text, share, id_)
            for text, share, id_ in zip(
                tokenizer.convert_ids_to_tokens(row), shares_of_row, row, strict=True
            )
        ]
        for row, shares_of_row in zip(ids.tolist(), shares.tolist(), strict=True)
    ]
