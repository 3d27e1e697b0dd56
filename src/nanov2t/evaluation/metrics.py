"""Comparison of texts with their references. Metrics are float64 [n]: a score from 0 to 100 for
each text."""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from difflib import SequenceMatcher
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from nanov2t.core.errors import UserError
from nanov2t.core.files import write_whole
from nanov2t.search.state import Inversion

TEXT, COSINE, COUNT = pa.string(), pa.float64(), pa.int64()
HYPOTHESES = {"hypotheses": pa.list_(pa.struct({"text": TEXT, "cosine": COSINE}))}
SPENT = {"embedder_calls": COUNT, "seconds": pa.float64()}
ROUND = {"round": pa.int32(), "text": TEXT, "cosine": COSINE} | SPENT | HYPOTHESES
FOUND = {"idx": COUNT, "reference": TEXT, "inverted": TEXT, "cosine": COSINE, "stopped": TEXT}
SCHEMA = pa.schema(FOUND | SPENT | {"rounds": pa.list_(pa.struct(ROUND))} | HYPOTHESES)
"""Columns of results.parquet, which has a row for each text."""
GROUP = 100  # texts written at a time, since the hypotheses of all rounds are many small objects


@cache
def _tokenize() -> Callable[[str], list[str]]:
    """nltk.word_tokenize with the English model of a package, not of a download."""
    import punkt
    from nltk.tokenize import NLTKWordTokenizer
    from nltk.tokenize.punkt import PunktSentenceTokenizer

    model = punkt.load_model("english")
    model.ortho_context = defaultdict(int, model.ortho_context)  # as nltk expects it
    sentences, words = PunktSentenceTokenizer(model), NLTKWordTokenizer()
    return lambda text: [word for part in sentences.tokenize(text) for word in words.tokenize(part)]


def bleu(texts: Sequence[str], references: Sequence[str], effective: bool = True) -> np.ndarray:
    """Sentence BLEU (sacrebleu) with effective order. Without it, as nanoV2T computes it, a text of
    fewer than four words scores 0 even if it is exact."""
    from sacrebleu.metrics.bleu import BLEU

    score = BLEU(effective_order=effective).corpus_score
    pairs = zip(texts, references, strict=True)
    return np.array([score([text], [[ref]]).score for text, ref in pairs])


def token_f1(texts: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """F1 of the sets of words of nltk.word_tokenize (Morris et al. 2023, section 4)."""
    tokenize, scores = _tokenize(), []
    for text, ref in zip(texts, references, strict=True):
        ours, theirs = set(tokenize(text)), set(tokenize(ref))
        total = len(ours) + len(theirs)
        scores.append(200 * len(ours & theirs) / total if total else 100.0)
    return np.array(scores)


def exact_match(texts: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """100 if a text equals its reference, else 0. Normalise both in the same way first."""
    return np.array([100.0 * (text == ref) for text, ref in zip(texts, references, strict=True)])


def interval(values: np.ndarray, samples: int = 2000, seed: int = 0) -> list[float]:
    """95 % bootstrap interval of the mean of values [n]: [low, high]."""
    draws = np.random.default_rng(seed).integers(0, len(values), (samples, len(values)))
    return [float(x) for x in np.percentile(values[draws].mean(1), [2.5, 97.5])]


def word_diff(reference: str, text: str) -> list[tuple[bool, str, str]]:
    """Compare a text with its reference, run of words by run: whether both have the run, and its
    words in the reference and in the text."""
    theirs, ours = reference.split(), text.split()
    runs = SequenceMatcher(None, theirs, ours, autojunk=False).get_opcodes()
    return [(k == "equal", " ".join(theirs[a:b]), " ".join(ours[c:d])) for k, a, b, c, d in runs]


def summarize(found: Sequence[Inversion], references: Sequence[str]) -> dict[str, Any]:
    """Compare inversions with their references: for every round the means over all texts, with the
    seconds and embedder calls so far, and for the last also 95 % bootstrap intervals. A search that
    has stopped keeps its answer. `bleu_seed` is nanoV2T's BLEU."""
    per_round, scores = [], {}
    for r in range(max(len(inversion.rounds) for inversion in found)):
        best = [inversion.rounds[min(r, len(inversion.rounds) - 1)] for inversion in found]
        texts = [b.text for b in best]
        scores = {
            "bleu": bleu(texts, references),
            "bleu_seed": bleu(texts, references, effective=False),
            "token_f1": token_f1(texts, references),
            "exact_match": exact_match(texts, references),
            "cosine": np.array([b.cosine for b in best]),
        }
        means = {name: float(values.mean()) for name, values in scores.items()}
        seconds, calls = sum(b.seconds for b in best), sum(b.embedder_calls for b in best)
        per_round.append({"round": r} | means | {"seconds": seconds, "embedder_calls": calls})
    n, last = len(found), per_round[-1]
    ends = {k: {"value": last[k], "ci95": interval(v)} for k, v in scores.items()}
    spent = {f"{name}_per_text": last[name] / n for name in ("embedder_calls", "seconds")}
    return {"n": n, "rounds": per_round} | ends | spent


def write_results(
    out: Path, result: Mapping[str, Any], texts: Mapping[int, str], found: Sequence[Inversion]
) -> None:
    """Write metrics.jsonl, with a line for each round of :func:`summarize`, and results.parquet,
    with a row for each of the `texts`, whose keys are their rows in the source. Raises a UserError
    if they cannot be written."""
    buffer = pa.BufferOutputStream()
    with pq.ParquetWriter(buffer, SCHEMA) as writer:
        rows = zip(texts.items(), found, strict=True)
        while group := list(itertools.islice(rows, GROUP)):
            cells = [
                {"idx": i, "reference": text, "inverted": x.text, "seconds": x.rounds[-1].seconds}
                | asdict(x)
                for (i, text), x in group
            ]
            writer.write_table(pa.Table.from_pylist(cells, SCHEMA))
    lines = "".join(json.dumps(line) + "\n" for line in result["rounds"])
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_whole(out / "results.parquet", memoryview(buffer.getvalue()))
        write_whole(out / "metrics.jsonl", lines.encode())
    except OSError as error:
        raise UserError(f"{out}: {error.strerror}") from None
