"""What retrieval is worth with defended vectors: nDCG@10, recall@10, and how much of the top 10
stays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nanov2t.audit.leakage import figure
from nanov2t.core.errors import UserError
from nanov2t.embedders.base import Embedder
from nanov2t.stores.base import import_client
from nanov2t.targets import Defence

TOP = 10
"""Documents of a ranking that are looked at."""
MEASURES = (f"ndcg@{TOP}", f"recall@{TOP}", f"overlap@{TOP}")


class Retrieval:
    """The first half of each text has to find its second half among all second halves.

    Args:
        texts: those of fewer than two words are left out.

    Raises:
        UserError: fewer than two texts are left, or ir-measures is not installed.
    """

    def __init__(self, embedder: Embedder, texts: Sequence[str]):
        import_client("ir_measures", "audit")
        halves = [(words[: len(words) // 2], words[len(words) // 2 :]) for words in _split(texts)]
        if len(halves) < 2:
            raise UserError("fewer than two of the texts have two words, so none can be searched")
        self.queries = embedder.encode([" ".join(first) for first, _ in halves])
        self.documents = embedder.encode([" ".join(second) for _, second in halves])
        self.plain = _ranked(self.queries, self.documents)

    def figures(self, defence: Defence | None) -> dict[str, Any]:
        """With both sides defended: means over the queries, with 95 % intervals. `ndcg@10` and
        `recall@10` run from 0 to 1, as does `overlap@10`, the share of the undefended ten best
        that are among the defended ten best."""
        from ir_measures import Qrel, R, ScoredDoc, iter_calc, nDCG

        ranked = self.plain
        if defence is not None:
            ranked = _ranked(defence(self.queries), defence(self.documents))
        judged = [Qrel(f"{i:06d}", str(i), 1) for i in range(len(ranked))]
        run = [
            ScoredDoc(f"{i:06d}", str(document), float(-place))
            for i, row in enumerate(ranked.tolist())
            for place, document in enumerate(row)
        ]
        measures = {nDCG @ TOP: MEASURES[0], R @ TOP: MEASURES[1]}
        values: dict[str, dict[str, float]] = {name: {} for name in measures.values()}
        for metric in iter_calc(list(measures), judged, run):
            values[measures[metric.measure]][metric.query_id] = metric.value
        shared = [
            len(set(a) & set(b)) / len(a)
            for a, b in zip(ranked.tolist(), self.plain.tolist(), strict=True)
        ]
        return {
            name: figure(np.array([by_query[q] for q in sorted(by_query)]))
            for name, by_query in values.items()
        } | {MEASURES[2]: figure(np.array(shared)), "n": len(ranked)}


def _split(texts: Sequence[str]) -> list[list[str]]:
    return [words for text in texts if len(words := text.split()) > 1]


def _ranked(queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
    """The nearest documents of each query by cosine, nearest first: int [n, at most TOP]."""
    lengths = np.linalg.norm(documents, axis=1)
    order: np.ndarray = np.argsort(-(queries @ documents.T) / lengths, axis=1, kind="stable")
    return order[:, :TOP]
