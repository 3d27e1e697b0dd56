"""The figures: BLEU, token F1, exact match, cosine, and bootstrap intervals over texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np


@cache
def _tokenize() -> Callable[[str], list[str]]:
    from nltk.tokenize import TreebankWordTokenizer

    split: Callable[[str], list[str]] = TreebankWordTokenizer().tokenize
    return split


def bleu(texts: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """Sentence BLEU with effective order (sacrebleu), 0 to 100: float64 [n]."""
    from sacrebleu.metrics.bleu import BLEU

    score = BLEU(effective_order=True).sentence_score
    return np.array([score(text, [ref]).score for text, ref in zip(texts, references, strict=True)])


def token_f1(texts: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """F1 of the sets of Treebank word tokens, 0 to 100: float64 [n] (Morris et al. 2023, section
    4)."""
    tokenize = _tokenize()

    def score(text: str, ref: str) -> float:
        ours, theirs = set(tokenize(text)), set(tokenize(ref))
        return 200 * len(ours & theirs) / (len(ours) + len(theirs)) if ours or theirs else 100.0

    return np.array([score(text, ref) for text, ref in zip(texts, references, strict=True)])


def exact_match(texts: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """100 where a text equals its reference, else 0: float64 [n]. Both are expected normalised
    alike."""
    return np.array([100.0 * (text == ref) for text, ref in zip(texts, references, strict=True)])


def interval(values: np.ndarray, samples: int = 2000, seed: int = 0) -> list[float]:
    """95 % bootstrap interval of the mean of per-text values [n]: [low, high]."""
    draws = np.random.default_rng(seed).integers(0, len(values), (samples, len(values)))
    return [float(x) for x in np.percentile(values[draws].mean(1), [2.5, 97.5])]
