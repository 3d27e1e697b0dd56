"""Compare texts with their references. The metrics are float64 [n]: a score from 0 to 100 for each
text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import SequenceMatcher
from functools import cache

import numpy as np


@cache
def _tokenize() -> Callable[[str], list[str]]:
    """nltk.word_tokenize, with the English model from a package instead of a download."""
    import punkt
    from nltk.tokenize import NLTKWordTokenizer
    from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer

    model, learnt = punkt.load_model("english"), PunktParameters()
    learnt.abbrev_types, learnt.collocations = model.abbrev_types, model.collocations
    learnt.sent_starters = model.sent_starters
    learnt.ortho_context.update(model.ortho_context)
    sentences, words = PunktSentenceTokenizer(learnt), NLTKWordTokenizer()
    return lambda text: [word for part in sentences.tokenize(text) for word in words.tokenize(part)]


def bleu(texts: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """Sentence BLEU with effective order (sacrebleu)."""
    from sacrebleu.metrics.bleu import BLEU

    score = BLEU(effective_order=True).sentence_score
    return np.array([score(text, [ref]).score for text, ref in zip(texts, references, strict=True)])


def bleu_seed(texts: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """Sentence BLEU as nanoV2T computes it, without effective order: a text of fewer than four
    words scores 0 even if it is exact."""
    from sacrebleu.metrics.bleu import BLEU

    score = BLEU().corpus_score
    pairs = zip(texts, references, strict=True)
    return np.array([score([text], [[ref]]).score for text, ref in pairs])


def token_f1(texts: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """F1 of the sets of words of nltk.word_tokenize (Morris et al. 2023, section 4)."""
    tokenize = _tokenize()

    def score(text: str, ref: str) -> float:
        ours, theirs = set(tokenize(text)), set(tokenize(ref))
        return 200 * len(ours & theirs) / (len(ours) + len(theirs)) if ours or theirs else 100.0

    return np.array([score(text, ref) for text, ref in zip(texts, references, strict=True)])


def exact_match(texts: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """100 if a text equals its reference, else 0. Normalise both in the same way before."""
    return np.array([100.0 * (text == ref) for text, ref in zip(texts, references, strict=True)])


def interval(values: np.ndarray, samples: int = 2000, seed: int = 0) -> list[float]:
    """95 % bootstrap interval of the mean of values [n]: [low, high]."""
    draws = np.random.default_rng(seed).integers(0, len(values), (samples, len(values)))
    return [float(x) for x in np.percentile(values[draws].mean(1), [2.5, 97.5])]


Runs = list[tuple[bool, str]]


def common_runs(reference: str, text: str) -> tuple[Runs, Runs]:
    """Split a reference and a text into runs of words. True marks a run that both have in the same
    order."""
    theirs, ours = reference.split(), text.split()
    runs: tuple[Runs, Runs] = [], []
    for kind, a, b, c, d in SequenceMatcher(None, theirs, ours, autojunk=False).get_opcodes():
        for side, words in zip(runs, (theirs[a:b], ours[c:d]), strict=True):
            if words:
                side.append((kind == "equal", " ".join(words)))
    return runs
