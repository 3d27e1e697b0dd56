"""How much of the texts an attacker read out of their vectors, by length and by kind of content."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nanov2t.audit.kinds import KINDS, Item, find_items, holds
from nanov2t.core.errors import UserError
from nanov2t.core.vectors import cosine
from nanov2t.embedders.base import Embedder
from nanov2t.embedders.text import reference
from nanov2t.evaluation import metrics
from nanov2t.inverter import Inverter

SCORES = ("exact_match", "bleu", "token_f1", "cosine")
NORMAL = 1.96
"""Standard deviations on both sides of the mean that hold 95 % of a normal distribution."""


@dataclass(frozen=True)
class Sample:
    """Texts cut to one length."""

    tokens: int
    references: list[str]
    """As the embedder sees them."""
    vectors: np.ndarray
    """float32 [n, dim], of the references, undefended."""
    items: list[list[Item]]
    """What each of them holds whole, as the embedder sees it."""


def make_sample(inverter: Inverter, texts: Sequence[str], tokens: int, limit: int) -> Sample:
    """The first `limit` texts that are long enough, cut to `tokens` tokens.

    Raises:
        UserError: the inverter cannot write so many tokens, or fewer than two texts are so long.
    """
    embedder, tokenizer = inverter.embedder, inverter.tokenizer
    if not 1 <= tokens <= inverter.max_tokens:
        raise UserError(f"--lengths {tokens}: the inverter writes 1 to {inverter.max_tokens}")
    references: list[str] = []
    items: list[list[Item]] = []
    for text in texts:
        ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        cut = reference(text, tokenizer, embedder, tokens)
        if len(ids) < tokens or not cut or len(references) == limit:
            continue
        whole = [Item(i.kind, embedder.normalize(i.text)) for i in find_items(text)]
        references.append(cut)
        items.append([item for item in whole if holds(cut, item.text)])
    if len(references) < 2:
        raise UserError(f"--lengths {tokens}: fewer than two of the texts are so long")
    return Sample(tokens, references, embedder.encode(references), items)


def leakage(embedder: Embedder, sample: Sample, found: Sequence[str]) -> dict[str, Any]:
    """What texts read out of a sample's vectors give away.

    Args:
        found: a text for each vector.

    Returns:
        For each of SCORES its mean and 95 % interval, `cosine` being that of the undefended
        vectors of both texts; under `kinds`, for each kind that the texts hold, the share of its
        items that were read out whole, 0 to 100, with its interval and their number.
    """
    scores = {
        "exact_match": metrics.exact_match(found, sample.references),
        "bleu": metrics.bleu(found, sample.references),
        "token_f1": metrics.token_f1(found, sample.references),
        "cosine": cosine(embedder.encode(found), sample.vectors),
    }
    kinds = {}
    for kind in KINDS:
        whole = [
            100.0 * holds(text, item.text)
            for text, items in zip(found, sample.items, strict=True)
            for item in items
            if item.kind == kind
        ]
        if whole:
            kinds[kind] = share(np.array(whole)) | {"n": len(whole)}
    figures = {name: figure(values) for name, values in scores.items()}
    return figures | {"exact_match": share(scores["exact_match"]), "kinds": kinds}


def control(embedder: Embedder, sample: Sample, found: Sequence[str]) -> dict[str, Any]:
    """As :func:`leakage`, of the same texts taken for those of other vectors: what the language
    and the likeness of the texts give away without the vectors."""
    return leakage(embedder, sample, [*found[1:], found[0]])


def share(values: np.ndarray) -> dict[str, Any]:
    """The mean of values [n] that are all 0 or 100, and its 95 % interval by Wilson: a bootstrap
    would be sure that what never happened among a few texts never happens."""
    n, p = len(values), float(values.mean()) / 100
    middle = (p + NORMAL**2 / (2 * n)) / (1 + NORMAL**2 / n)
    half = NORMAL / (1 + NORMAL**2 / n) * (p * (1 - p) / n + NORMAL**2 / (4 * n**2)) ** 0.5
    ends = [100 * max(0.0, middle - half), 100 * min(1.0, middle + half)]
    return {"value": 100 * p, "ci95": ends}


def figure(values: np.ndarray) -> dict[str, Any]:
    """The mean of values [n] and its 95 % bootstrap interval."""
    return {"value": float(values.mean()), "ci95": metrics.interval(values)}
