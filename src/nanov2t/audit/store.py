"""The vectors of a store as the evidence of an audit."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, NamedTuple

import numpy as np

from nanov2t.audit.attackers import Reader
from nanov2t.audit.content import KINDS, find_items
from nanov2t.core.errors import UserError
from nanov2t.core.progress import progress
from nanov2t.evaluation.shared import is_first
from nanov2t.seal import source_hash
from nanov2t.stores.base import Store

DRAWN = 2000
"""Rows that are drawn from a store with texts, to measure search and membership."""


class Evidence(NamedTuple):
    """Rows drawn from a store, in random order, with float32 [n, dim] vectors and without texts if
    none are known, and what the report says of the store."""

    ids: list[Any]
    texts: list[str]
    vectors: np.ndarray
    facts: dict[str, Any]


def draw(source: Store, spec: str, limit: int, seed: int) -> Evidence:
    """Draw rows at random: `limit`, or DRAWN if there are texts. Rows whose vector is missing or
    bad, or whose text is empty, are counted and left out."""
    before, random = source_hash(spec), np.random.default_rng(seed)
    places = random.permutation(source.count)[: max(limit, DRAWN) if source.ids else limit]
    ids: list[Any] = []
    vectors = []
    left_out = {"bad_vectors": 0, "without_text": 0}
    with progress("reading", len(places), shown=is_first()) as tick:
        for place in np.sort(places).tolist():
            rows = source.read(place, place + 1)
            tick()
            if rows.errors:
                left_out["bad_vectors"] += 1
            elif source.ids and not str(rows.ids[0] or "").strip():
                left_out["without_text"] += 1
            else:
                ids.append(rows.ids[0])
                vectors.append(rows.vectors[0])
    if len(ids) < 2:
        raise UserError(f"{source.name}: fewer than two of {len(places)} rows can be attacked")
    order = random.permutation(len(ids))
    ids = [ids[i] for i in order]
    facts = {"name": source.name, "rows": source.count, "dim": source.dim, "kind": source.kind}
    facts |= {"text_column": source.ids, "drawn": len(places), "sha256": {"before": before}}
    texts = [" ".join(text.split()) for text in ids] if source.ids else []
    return Evidence(ids, texts, np.array(vectors)[order], facts | left_out)


def read_out(reader: Reader, evidence: Evidence) -> list[dict[str, Any]]:
    """Invert vectors whose texts are not known. Returns for each the id, the text that was read,
    its cosine, whether its vector is the stored one (`certain`), and its items by kind."""
    keys = [f"{evidence.facts['sha256']['before']} {id_}" for id_ in evidence.ids]
    kept = reader.count_kept(keys, "store")
    with progress("searching", len(keys), kept, shown=is_first()) as tick:
        found = reader.read(evidence.vectors, keys, "store", tick)
    readings = []
    for id_, row in zip(evidence.ids, found, strict=True):
        text = re.sub(r"(@\S+)\. (?=\w)", r"\1.", re.sub(r" ?([@_-]) ?", r"\1", row["text"]))
        kinds = Counter(item.kind for item in find_items(text, cased=False))
        certain = row["stopped"] == "exact"
        facts = {"id": id_, "found": row["text"], "cosine": row["cosine"], "certain": certain}
        readings.append(facts | {"kinds": {kind: kinds[kind] for kind in KINDS if kinds[kind]}})
    return sorted(readings, key=lambda reading: -reading["cosine"])
