"""How well retrieval works with defended vectors: nDCG@10, recall@10, and how much of the top 10
stays."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nanov2t.audit.leakage import embed, figure
from nanov2t.core.errors import UserError, first_line
from nanov2t.core.imports import import_client
from nanov2t.embedders.base import Embedder
from nanov2t.targets import Defence

TOP = 10
"""Documents of a ranking that count."""
MEASURES = (f"ndcg@{TOP}", f"recall@{TOP}", f"overlap@{TOP}")
TELLING = 2 * TOP
"""Fewest documents for all MEASURES. Among fewer, a random ranking also has most of the best ten,
and only nDCG, which counts their order, means anything."""
QUERIES = 64
"""Queries ranked at a time, to bound memory."""


@dataclass(frozen=True)
class Judgements:
    """Queries, documents, and which documents answer which query."""

    name: str
    queries: list[str]
    documents: list[str]
    relevant: list[dict[int, int]]
    """For each query, the grades of its documents by their numbers."""
    left_out: dict[str, int] = field(default_factory=dict)
    """How many texts, queries or documents were left out, by reason."""


def halves(texts: Sequence[str]) -> Judgements:
    """Judgements by which the first half of each text must find its second half.

    Raises:
        UserError: fewer than two texts have two words.
    """
    split = [words for text in texts if len(words := text.split()) > 1]
    if len(split) < 2:
        raise UserError("fewer than two of the texts have two words, so none can be searched")
    first = [" ".join(words[: len(words) // 2]) for words in split]
    second = [" ".join(words[len(words) // 2 :]) for words in split]
    left_out = {"texts of fewer than two words": len(texts) - len(split)}
    return Judgements("halves", first, second, [{i: 1} for i in range(len(split))], left_out)


def read_beir(folder: Path, split: str) -> Judgements:
    """Judgements in BEIR's format: corpus.jsonl, queries.jsonl and qrels/SPLIT.tsv. Leaves out
    empty documents and queries without a relevant document.

    Raises:
        UserError: a file is missing or malformed, or judges fewer than two queries.
    """
    documents = {
        key: f"{row.get('title') or ''} {row['text']}".strip()
        for key, row in _rows(folder / "corpus.jsonl")
    }
    queries = {key: row["text"].strip() for key, row in _rows(folder / "queries.jsonl")}
    left_out = {"documents without text": sum(not text for text in documents.values())}
    documents = {key: text for key, text in documents.items() if text}
    places = {key: i for i, key in enumerate(documents)}
    path = folder / "qrels" / f"{split}.tsv"
    relevant: dict[str, dict[int, int]] = {}
    for number, query, document, grade in _grades(path):
        if not queries.get(query):
            raise UserError(f"{path}: line {number}: no query {query} in queries.jsonl")
        if document not in places:
            raise UserError(f"{path}: line {number}: no document {document} in corpus.jsonl")
        if grade > 0:
            relevant.setdefault(query, {})[places[document]] = grade
    if len(relevant) < 2:
        raise UserError(f"{path}: judges fewer than two queries")
    asked = [queries[key] for key in relevant]
    left_out["queries to which no document is relevant"] = len(queries) - len(asked)
    found = list(documents.values()), list(relevant.values())
    return Judgements(folder.name, asked, *found, left_out)


def _rows(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """The id and the object of each line."""
    try:
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                row = json.loads(line)
                if not isinstance(row, dict) or not isinstance(row.get("text"), str):
                    raise UserError(f"{path}: line {number}: no object with `_id` and `text`")
                yield str(row.get("_id")), row
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {first_line(error)}") from None


def _grades(path: Path) -> Iterator[tuple[int, str, str, int]]:
    """The line, query, document and grade of each judgement."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            lines = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            next(lines, None)
            for number, line in enumerate(lines, 2):
                if len(line) != 3:
                    raise UserError(f"{path}: line {number}: not query, document and grade")
                yield number, line[0], line[1], int(line[2])
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read: {first_line(error)}") from None


class Retrieval:
    """Queries that must find their documents.

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
        """What the report says of the queries and documents."""
        counts = {"queries": len(self.queries), "documents": len(self.documents)}
        left_out = {"left_out": self.judgements.left_out}
        return {"judgements": self.judgements.name} | counts | left_out

    def figures(self, defence: Defence | None) -> dict[str, Any]:
        """MEASURES from 0 to 1 with queries and documents defended: means over the queries, with
        95 % intervals. `overlap@10` is the share of the undefended top ten that stays in it."""
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
        names = {nDCG @ TOP: MEASURES[0], R @ TOP: MEASURES[1]}
        values: dict[str, dict[str, float]] = {name: {} for name in MEASURES}
        for metric in iter_calc(list(names), judged, run):
            values[names[metric.measure]][metric.query_id] = metric.value
        for i, (ours, plain) in enumerate(zip(ranked.tolist(), self.plain.tolist(), strict=True)):
            values[MEASURES[2]][f"{i:06d}"] = len(set(ours) & set(plain)) / len(ours)
        return {
            name: figure(np.array([values[name][query] for query in sorted(values[name])]))
            for name in measured(len(self.documents))
        }


def measured(documents: int) -> tuple[str, ...]:
    """The MEASURES that mean something among so many documents."""
    return MEASURES if documents >= TELLING else MEASURES[:1]


def _ranked(queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
    """The numbers of each query's nearest documents by cosine, nearest first: int [n, ≤ TOP]."""
    lengths = np.linalg.norm(documents, axis=1)
    parts = [
        np.argsort(-(queries[i : i + QUERIES] @ documents.T) / lengths, axis=1, kind="stable")
        for i in range(0, len(queries), QUERIES)
    ]
    return np.concatenate([part[:, :TOP] for part in parts])
