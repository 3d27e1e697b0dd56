"""How much of the texts an attacker read out of their vectors, by length and by kind of content."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nanov2t.audit.content import KINDS, Item, find_items, holds
from nanov2t.core.errors import UserError
from nanov2t.core.progress import progress
from nanov2t.core.vectors import cosine
from nanov2t.embedders.base import Embedder
from nanov2t.embedders.text import reference
from nanov2t.evaluation import metrics
from nanov2t.evaluation.shared import is_first

if TYPE_CHECKING:
    from nanov2t.inverter import Inverter

SCORES = ("exact_match", "bleu", "token_f1", "cosine")
BLANK = "nothing left for the embedder"
BEYOND = "more than --limit"
EMBEDDED = 256
"""Texts embedded between two updates of the progress."""
DIGITS = 4
"""Decimals of every figure. Further ones differ between processors."""
NORMAL = 1.96
"""Standard deviations to each side of the mean that hold 95 % of a normal distribution."""


@dataclass(frozen=True)
class Sample:
    """Texts cut to one length."""

    tokens: int
    references: list[str]
    """The texts as the embedder sees them."""
    vectors: np.ndarray
    """float32 [n, dim], undefended."""
    items: list[list[Item]]
    """The items that are still whole after the cut, by text."""
    before: Counter[str]
    """The number of items of each kind before the cut."""
    left_out: dict[str, int]
    """How many texts were left out, by reason."""

    def describe(self) -> dict[str, Any]:
        """What the report says of the sample."""
        whole = Counter(item.kind for items in self.items for item in items)
        kinds = {k: {"before": self.before[k], "whole": whole[k]} for k in KINDS if self.before[k]}
        counts = {"tokens": self.tokens, "n": len(self.references)}
        return counts | {"left_out": self.left_out, "kinds": kinds}


def make_sample(inverter: Inverter, texts: Sequence[str], tokens: int, limit: int) -> Sample:
    """Cut the first `limit` texts that are long enough to `tokens` tokens.

    Raises:
        UserError: the inverter cannot write so many tokens, or fewer than two texts are so long.
    """
    embedder, tokenizer = inverter.embedder, inverter.tokenizer
    if not 1 <= tokens <= inverter.max_tokens:
        raise UserError(f"--lengths {tokens}: the inverter writes 1 to {inverter.max_tokens}")
    references: list[str] = []
    items: list[list[Item]] = []
    before: Counter[str] = Counter()
    left_out = dict.fromkeys((short := f"shorter than {tokens} tokens", BLANK, BEYOND), 0)
    for text in texts:
        ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        cut = reference(text, tokenizer, embedder, tokens)
        if len(ids) < tokens or not cut or len(references) == limit:
            left_out[short if len(ids) < tokens else BEYOND if cut else BLANK] += 1
            continue
        whole = [Item(i.kind, embedder.normalize(i.text)) for i in find_items(text)]
        references.append(cut)
        items.append([item for item in whole if holds(cut, item.text)])
        before.update(item.kind for item in whole)
    if len(references) < 2:
        few = f"{len(references)} of {len(texts)} texts long enough, and at least 2 are needed"
        raise UserError(f"--lengths {tokens}: {few}")
    return Sample(tokens, references, embedder.encode(references), items, before, left_out)


def left_out(report: Mapping[str, Any]) -> list[str]:
    """Lines that say which texts, queries and documents a report leaves out, and why."""
    lines = []
    for sample in report["samples"]:
        if reasons := _reasons(sample):
            count = f"{sample['n']} of {report['texts']} texts attacked"
            lines.append(f"{sample['tokens']} tokens: {count}. Left out: {reasons}")
    if reasons := _reasons(report["retrieval"]):
        lines.append(f"Search: left out: {reasons}")
    return lines


def _reasons(row: Mapping[str, Any]) -> str:
    return ", ".join(f"{why}: {n:,}" for why, n in row["left_out"].items() if n)


def embed(embedder: Embedder, texts: Sequence[str], what: str) -> np.ndarray:
    """Embed many texts and show the progress: float32 [n, dim]."""
    with progress(what, len(texts), shown=is_first()) as tick:
        parts = []
        for i in range(0, len(texts), EMBEDDED):
            parts.append(embedder.encode(texts[i : i + EMBEDDED]))
            tick(len(parts[-1]))
    return np.concatenate(parts)


def leakage(embedder: Embedder, sample: Sample, found: Sequence[str]) -> dict[str, Any]:
    """Compare what was read out of a sample's vectors, a text for each, with the sample.

    Returns:
        The mean and 95 % interval of each of SCORES, the cosine being that of undefended vectors;
        under `kinds`, for each kind in the sample, the share of items read out whole, from 0 to
        100, with its interval and their number `n`.
    """
    exact = metrics.exact_match(found, sample.references)
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
    return {
        "exact_match": share(exact),
        "bleu": figure(metrics.bleu(found, sample.references)),
        "token_f1": figure(metrics.token_f1(found, sample.references)),
        "cosine": figure(cosine(embedder.encode(found), sample.vectors)),
        "kinds": kinds,
    }


def share(values: np.ndarray) -> dict[str, Any]:
    """The mean of values [n] that are 0 or 100, and its 95 % interval by Wilson. A bootstrap would
    claim that what did not happen among a few texts never happens."""
    n, p = len(values), float(values.mean()) / 100
    middle = (p + NORMAL**2 / (2 * n)) / (1 + NORMAL**2 / n)
    half = NORMAL / (1 + NORMAL**2 / n) * (p * (1 - p) / n + NORMAL**2 / (4 * n**2)) ** 0.5
    ends = [100 * max(0.0, middle - half), 100 * min(1.0, middle + half)]
    return _rounded(100 * p, ends)


def figure(values: np.ndarray) -> dict[str, Any]:
    """The mean of values [n] and its 95 % bootstrap interval."""
    return _rounded(float(values.mean()), metrics.interval(values))


def _rounded(value: float, ends: Sequence[float]) -> dict[str, Any]:
    return {"value": round(value, DIGITS), "ci95": [round(end, DIGITS) for end in ends]}
