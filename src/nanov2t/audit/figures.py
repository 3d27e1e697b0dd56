"""What an audit measures: how much of texts an attacker read out of their vectors, by length and by
kind of content, and how well retrieval works with defended vectors."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nanov2t.audit.content import KINDS, Item, find_items, holds
from nanov2t.core.errors import UserError, first_line
from nanov2t.core.imports import import_client
from nanov2t.core.progress import progress
from nanov2t.core.vectors import cosine
from nanov2t.embedders.base import Embedder
from nanov2t.embedders.text import reference
from nanov2t.evaluation import metrics
from nanov2t.evaluation.shared import is_first
from nanov2t.targets import Defence

if TYPE_CHECKING:
    from nanov2t.inverter import Inverter

SCORES = ("exact_match", "bleu", "token_f1", "cosine")
TOP = 10
"""Documents of a ranking that count."""
MEASURES = (f"ndcg@{TOP}", f"recall@{TOP}", f"overlap@{TOP}")
TELLING = 2 * TOP
"""Fewest documents for all MEASURES. Among fewer, a random ranking also has most of the best ten,
and only nDCG, which counts their order, means anything."""
AT_ONCE = 64
"""Texts that are embedded or ranked at a time, to bound memory."""
DIGITS = 4
"""Decimals of every figure. Further ones differ between processors."""
NORMAL = 1.96
"""Standard deviations to each side of the mean that hold 95 % of a normal distribution."""


class Sample(NamedTuple):
    """Texts cut to one length, as the embedder sees them, with their undefended vectors, float32
    [n, dim], the items of each that are still whole, and what the report says of all that."""

    references: list[str]
    vectors: np.ndarray
    items: list[list[Item]]
    facts: dict[str, Any]


def make_sample(
    inverter: Inverter,
    texts: Sequence[str],
    tokens: int,
    limit: int,
    stored: np.ndarray | None = None,
) -> Sample:
    """Cut the first `limit` texts that are long enough to `tokens` tokens. If their vectors are
    given, float32 [n, dim], they may be shorter. A UserError if the inverter cannot write so many,
    or fewer than two texts are so long."""
    embedder, tokenizer = inverter.embedder, inverter.tokenizer
    if not 1 <= tokens <= inverter.max_tokens:
        raise UserError(f"--lengths {tokens}: the inverter writes 1 to {inverter.max_tokens}")
    references: list[str] = []
    places: list[int] = []
    items: list[list[Item]] = []
    before: Counter[str] = Counter()
    reasons = f"shorter than {tokens} tokens", "nothing left for the embedder", "more than --limit"
    short, blank, beyond = reasons
    left_out = dict.fromkeys(reasons, 0)
    for place, text in enumerate(texts):
        ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        cut = reference(text, tokenizer, embedder, tokens)
        is_short = stored is None and len(ids) < tokens
        if is_short or not cut or len(references) == limit:
            left_out[short if is_short else beyond if cut else blank] += 1
            continue
        places.append(place)
        whole = [Item(i.kind, embedder.normalize(i.text)) for i in find_items(text)]
        references.append(cut)
        items.append([item for item in whole if holds(cut, item.text)])
        before.update(item.kind for item in whole)
    if len(references) < 2:
        few = f"{len(references)} of {len(texts)} texts long enough, and at least 2 are needed"
        raise UserError(f"--lengths {tokens}: {few}")
    left = Counter(item.kind for row in items for item in row)
    kinds = {k: {"before": before[k], "whole": left[k]} for k in KINDS if before[k]}
    facts = {"tokens": tokens, "n": len(references), "left_out": left_out, "kinds": kinds}
    vectors = embedder.encode(references) if stored is None else stored[places]
    return Sample(references, vectors, items, facts)


def left_out(report: Mapping[str, Any]) -> list[str]:
    """Lines that say which texts, queries and documents a report leaves out, and why."""
    lines = []
    for row in filter(None, [*report["samples"], report["retrieval"]]):
        head = "Search: left out"
        if "tokens" in row:
            texts = f"{row['n']} of {report['texts']} texts attacked"
            head = f"{row['tokens']} tokens: {texts}. Left out"
        if reasons := [f"{why}: {n:,}" for why, n in row["left_out"].items() if n]:
            lines.append(f"{head}: {', '.join(reasons)}")
    return lines


def embed(embedder: Embedder, texts: Sequence[str], what: str) -> np.ndarray:
    """Embed many texts and show the progress: float32 [n, dim]."""
    with progress(what, len(texts), shown=is_first()) as tick:
        parts = []
        for i in range(0, len(texts), AT_ONCE):
            parts.append(embedder.encode(texts[i : i + AT_ONCE]))
            tick(len(parts[-1]))
    return np.concatenate(parts)


def leakage(embedder: Embedder, sample: Sample, found: Sequence[str]) -> dict[str, Any]:
    """Compare what was read out of a sample's vectors, a text for each, with the sample: the mean
    and 95 % interval of each of SCORES, the cosine being that of undefended vectors; under `kinds`,
    for each kind in the sample, the share of items read out whole, 0 to 100, and their number."""
    read: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for text, items in zip(found, sample.items, strict=True):
        for item in items:
            read[item.kind].append(100.0 * holds(text, item.text))
    kinds = {k: share(np.array(whole)) | {"n": len(whole)} for k, whole in read.items() if whole}
    return {
        "exact_match": share(metrics.exact_match(found, sample.references)),
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
    return figure(values, [100 * max(0.0, middle - half), 100 * min(1.0, middle + half)])


def figure(values: np.ndarray, ends: Sequence[float] | None = None) -> dict[str, Any]:
    """The mean of values [n] and its 95 % interval, by bootstrap unless `ends` are given."""
    ends = metrics.interval(values) if ends is None else ends
    return {"value": round(float(values.mean()), DIGITS), "ci95": [round(x, DIGITS) for x in ends]}


class Judgements(NamedTuple):
    """Queries, documents, for each query the grades of its documents by their numbers, and how many
    texts, queries or documents were left out, by reason."""

    name: str
    queries: list[str]
    documents: list[str]
    relevant: list[dict[int, int]]
    left_out: dict[str, int]


def halves(texts: Sequence[str]) -> Judgements:
    """Judgements by which the first half of each text must find its second half. A UserError if
    fewer than two texts have two words."""
    split = [words for text in texts if len(words := text.split()) > 1]
    if len(split) < 2:
        raise UserError("fewer than two of the texts have two words, so none can be searched")
    first = [" ".join(words[: len(words) // 2]) for words in split]
    second = [" ".join(words[len(words) // 2 :]) for words in split]
    left_out = {"texts of fewer than two words": len(texts) - len(split)}
    return Judgements("halves", first, second, [{i: 1} for i in range(len(split))], left_out)


def read_beir(folder: Path, split: str) -> Judgements:
    """Judgements in BEIR's format: corpus.jsonl, queries.jsonl and qrels/SPLIT.tsv. Leaves out
    empty documents and queries without a relevant document. A UserError if a file is missing or
    malformed, or judges fewer than two queries."""
    form = "an object with `_id` and `text`"
    documents, queries = (
        dict(row for _, row in _lines(folder / name, _text, form))
        for name in ("corpus.jsonl", "queries.jsonl")
    )
    left_out = {"documents without text": sum(not text for text in documents.values())}
    documents = {key: text for key, text in documents.items() if text}
    places = {key: i for i, key in enumerate(documents)}
    path = folder / "qrels" / f"{split}.tsv"
    relevant: dict[str, dict[int, int]] = {}
    form = "query, document and grade between tabs"
    for number, (query, document, grade) in _lines(path, _grade, form, head=1):
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


def _text(line: str) -> tuple[str, str]:
    row = json.loads(line)
    return str(row["_id"]), f"{row.get('title') or ''} {row['text'].strip()}".strip()


def _grade(line: str) -> tuple[str, str, int]:
    query, document, grade = line.rstrip("\r\n").split("\t")
    return query, document, int(grade)


def _lines(
    path: Path, parse: Callable[[str], Any], form: str, head: int = 0
) -> Iterator[tuple[int, Any]]:
    """The number of each line after the head, and what `parse` makes of it."""
    number = 0
    try:
        with open(path, encoding="utf-8") as file:
            for number, line in itertools.islice(enumerate(file, 1), head, None):
                yield number, parse(line)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {first_line(error)}") from None
    except (ValueError, TypeError, KeyError, AttributeError):
        raise UserError(f"{path}: line {number}: not {form}") from None


class Retrieval:
    """Queries that must find their documents."""

    def __init__(self, embedder: Embedder, judgements: Judgements):
        import_client("ir_measures", "audit")
        self.relevant = judgements.relevant
        self.queries = embed(embedder, judgements.queries, "embedding the queries")
        self.documents = embed(embedder, judgements.documents, "embedding the documents")
        self.plain = _ranked(self.queries, self.documents)
        counts = {"queries": len(self.queries), "documents": len(self.documents)}
        self.facts = {"judgements": judgements.name, **counts, "left_out": judgements.left_out}

    def figures(self, defence: Defence | None) -> dict[str, Any]:
        """MEASURES from 0 to 1 with queries and documents defended: means over the queries, with
        95 % intervals. `overlap@10` is the share of the undefended top ten that stays in it."""
        from ir_measures import R, iter_calc, nDCG

        ranked = self.plain
        if defence is not None:
            ranked = _ranked(defence(self.queries), defence(self.documents))
        judged = {
            str(i): {str(x): grade for x, grade in grades.items()}
            for i, grades in enumerate(self.relevant)
        }
        run = {
            str(i): {str(x): float(-place) for place, x in enumerate(row)}
            for i, row in enumerate(ranked.tolist())
        }
        names = {nDCG @ TOP: MEASURES[0], R @ TOP: MEASURES[1]}
        values = {name: np.zeros(len(ranked)) for name in MEASURES}
        for found in iter_calc(list(names), judged, run):
            values[names[found.measure]][int(found.query_id)] = found.value
        for i, (ours, plain) in enumerate(zip(ranked.tolist(), self.plain.tolist(), strict=True)):
            values[MEASURES[2]][i] = len(set(ours) & set(plain)) / len(ours)
        return {name: figure(values[name]) for name in measured(len(self.documents))}


def measured(documents: int) -> tuple[str, ...]:
    """The MEASURES that mean something among so many documents."""
    return MEASURES if documents >= TELLING else MEASURES[:1]


def _ranked(queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
    """The numbers of each query's nearest documents by cosine, nearest first: int [n, ≤ TOP]."""
    lengths = np.linalg.norm(documents, axis=1)
    parts = [
        np.argsort(-(queries[i : i + AT_ONCE] @ documents.T) / lengths, axis=1, kind="stable")
        for i in range(0, len(queries), AT_ONCE)
    ]
    return np.concatenate([part[:, :TOP] for part in parts])
