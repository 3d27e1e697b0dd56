"""An inverter's figures on texts: what `nanov2t evaluate` and the dev figures of training
report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nanov2t.evaluation import metrics
from nanov2t.inverter import Inverter
from nanov2t.search.base import OnRound
from nanov2t.search.options import BEAM
from nanov2t.search.state import Inversion


def evaluate(
    inverter: Inverter,
    references: Sequence[str],
    vectors: np.ndarray,
    rounds: int | None = None,
    beam: int = BEAM,
    drafts: Sequence[str] | None = None,
    on_round: OnRound | None = None,
) -> dict[str, Any]:
    """Invert vectors and compare with the texts they came from.

    Args:
        references: the texts as the embedder sees them (see
            :func:`nanov2t.embedders.text.reference`).
        vectors: float32 [n, dim], theirs.

    Returns:
        What :func:`summarize` says of the inversions.
    """
    return summarize(inverter.invert(vectors, rounds, beam, drafts, on_round), references)


def summarize(found: Sequence[Inversion], references: Sequence[str]) -> dict[str, Any]:
    """The figures of inversions against the texts they should be.

    Returns:
        For every round the means over the texts, a text that stopped earlier keeping its answer,
        with the seconds and embedder calls spent so far on all texts; and for the last round 95 %
        bootstrap intervals. BLEU, token F1 and exact match run from 0 to 100; `bleu_seed` is BLEU
        as nanoV2T takes it.
    """
    per_round, scores = [], {}
    for r in range(max(len(inversion.rounds) for inversion in found)):
        best = [inversion.rounds[min(r, len(inversion.rounds) - 1)] for inversion in found]
        texts = [b.text for b in best]
        scores = {
            "bleu": metrics.bleu(texts, references),
            "bleu_seed": metrics.bleu_seed(texts, references),
            "token_f1": metrics.token_f1(texts, references),
            "exact_match": metrics.exact_match(texts, references),
            "cosine": np.array([b.cosine for b in best]),
        }
        per_round.append(
            {"round": r}
            | {name: float(values.mean()) for name, values in scores.items()}
            | {
                "seconds": sum(b.seconds for b in best),
                "embedder_calls": sum(b.embedder_calls for b in best),
            }
        )
    return (
        {"n": len(found), "rounds": per_round}
        | {
            name: {"value": float(values.mean()), "ci95": metrics.interval(values)}
            for name, values in scores.items()
        }
        | {
            "embedder_calls_per_text": per_round[-1]["embedder_calls"] / len(found),
            "seconds_per_text": per_round[-1]["seconds"] / len(found),
        }
    )
