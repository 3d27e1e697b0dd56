"""What retrieval is worth with defended vectors: nDCG@10, recall@10, and how much of the top 10
stays."""

from __future__ import annotations

from typing import Any

import numpy as np

from nanov2t.audit.judgements import Judgements
from nanov2t.audit.leakage import embed, figure
from nanov2t.embedders.base import Embedder
from nanov2t.stores.base import import_client
from nanov2t.targets import Defence

TOP = 10
"""Documents of a ranking that are looked at."""
MEASURES = (f"ndcg@{TOP}", f"recall@{TOP}", f"overlap@{TOP}")
TELLING = 2 * TOP
"""Documents from which on all of MEASURES are taken. Among fewer, a random ranking has more than
half of every ten best, so that only nDCG, which looks at the order, tells anything."""
QUERIES = 64
"""Ranked at a time, so that memory does not grow with their number."""


class Retrieval:
    """Queries that have to find their documents.

    Raises:
        UserError: ir-measures is not installed.
    """

    def __init__(self, embedder: Embedder, judgements: Judgements):
        import_client("ir_measures", "audit")
        self.judgements = judgements
        self.queries = embed(embedder, judgements.queries, "embedding the queries")
        self.documents = embed(embedder, judgements.documents, "embedding the documents")
        self.plain = _ranked(self.queries, self.documents)

    def describe(self) -> dict[str, Any]:
        """What is searched with what."""
        counts = {"queries": len(self.queries), "documents": len(self.documents)}
        left_out = {"left_out": self.judgements.left_out}
        return {"judgements": self.judgements.name} | counts | left_out

    def figures(self, defence: Defence | None) -> dict[str, Any]:
        """With both sides defended: means over the queries, with 95 % intervals. `ndcg@10` and
        `recall@10` run from 0 to 1, as does `overlap@10`, the share of the undefended ten best
        that are among the defended ten best. Among fewer documents than TELLING there is only
        `ndcg@10`."""
        from ir_measures import Qrel, R, ScoredDoc, iter_calc, nDCG

        ranked = self.plain
        if defence is not None:
            ranked = _ranked(defence(self.queries), defence(self.documents))
        judged = [
            Qrel(f"{i:06d}", str(document), grade)
            for i, grades in enumerate(self.judgements.relevant)
            for document, grade in grades.items()
        ]
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
        figures = {
            name: figure(np.array([by_query[q] for q in sorted(by_query)]))
            for name, by_query in values.items()
        } | {MEASURES[2]: figure(np.array(shared))}
        return {name: figures[name] for name in measured(len(self.documents))}


def measured(documents: int) -> tuple[str, ...]:
    """Those of MEASURES that tell something among so many documents."""
    return MEASURES if documents >= TELLING else MEASURES[:1]


def _ranked(queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
    """The nearest documents of each query by cosine, nearest first: int [n, at most TOP]."""
    lengths = np.linalg.norm(documents, axis=1)
    parts = [
        np.argsort(-(queries[i : i + QUERIES] @ documents.T) / lengths, axis=1, kind="stable")
        for i in range(0, len(queries), QUERIES)
    ]
    return np.concatenate([part[:, :TOP] for part in parts])
