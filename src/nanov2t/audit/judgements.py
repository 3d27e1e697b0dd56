"""What retrieval has to find: queries, documents, and which documents answer which query."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nanov2t.core.errors import UserError, first_line

HALVES = "halves"
"""Name of the judgements that texts give by themselves."""


@dataclass(frozen=True)
class Judgements:
    """Queries, documents, and how relevant those are to these."""

    name: str
    queries: list[str]
    documents: list[str]
    relevant: list[dict[int, int]]
    """For each query the grades of documents, by their places."""
    left_out: dict[str, int] = field(default_factory=dict)
    """How many texts, queries or documents were left out, by the reason."""


def halves(texts: Sequence[str]) -> Judgements:
    """The first half of each text has to find its second half among all second halves.

    Args:
        texts: those of fewer than two words are left out.

    Raises:
        UserError: fewer than two texts are left.
    """
    split = [words for text in texts if len(words := text.split()) > 1]
    if len(split) < 2:
        raise UserError("fewer than two of the texts have two words, so none can be searched")
    first = [" ".join(words[: len(words) // 2]) for words in split]
    second = [" ".join(words[len(words) // 2 :]) for words in split]
    left_out = {"texts of fewer than two words": len(texts) - len(split)}
    return Judgements(HALVES, first, second, [{i: 1} for i in range(len(split))], left_out)


def read_beir(folder: Path, split: str) -> Judgements:
    """Judgements in BEIR's format: corpus.jsonl with `_id`, `title` and `text`, queries.jsonl with
    `_id` and `text`, and qrels/SPLIT.tsv with a heading and query, document and grade between tabs.
    Queries to which no document is relevant are left out, as are empty documents.

    Raises:
        UserError: a file is missing or of another form, names what is not there, or judges fewer
            than two queries.
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
    """The rows of a JSON Lines file by their ids."""
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
    """Line, query, document and grade of each judgement."""
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
