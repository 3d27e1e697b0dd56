"""Two embedders' vectors of the same texts to an alignment."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from nanov2t.align.alignment import SAME, Alignment, checked, pack
from nanov2t.core.errors import UserError
from nanov2t.core.vectors import cosine, unit
from nanov2t.embedders.base import Embedder
from nanov2t.embedders.function import PROBES

STRENGTHS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
"""Strengths of the ridge that are tried; held-out pairs choose one."""
HELD_OUT = 0.2
FEWEST = 20
"""Texts without which there is nothing to fit."""
CHANGED = 64
"""Texts whose scale is measured with one word exchanged."""
ALONE = 8
"""Texts embedded once more, each alone, to measure the noise."""
STEPS = np.arange(1.0, 8.0)
"""Deviations of a word's cosine between which its odds are counted."""
BATCH = 256
"""Texts between two signs of progress."""


def words_of(reader: Embedder, count: int) -> dict[str, int]:
    """The reader's commonest whole words, and their token ids."""
    known = sorted(reader.tokenizer.get_vocab().items(), key=lambda item: item[1])
    whole = {word: i for word, i in known if word.isascii() and word.isalnum()}
    return dict(itertools.islice(whole.items(), count))


def texts_embedded(texts: Sequence[str], words: Iterable[str]) -> list[str]:
    """All texts that :func:`align` has the embedder embed."""
    return [*PROBES, *texts, *words, *_changed(texts), *texts[:ALONE]]


def align(
    judge: Embedder,
    reader: Embedder,
    texts: Sequence[str],
    words: dict[str, int],
    tick: Callable[[int], None],
) -> Alignment:
    """Fit an alignment.

    Args:
        judge: the embedder whose vectors are to be read.
        reader: the one that the networks read.
        texts: short ones, best of the kind that is to be found.
        words: the reader's tokens that are whole words, and their ids.
        tick: told how many texts were embedded.

    Raises:
        UserError: there are fewer than FEWEST texts, or the judge gives vectors that cannot be
            used.
    """
    if len(texts) < FEWEST:
        raise UserError(f"{len(texts)} texts are too few to align {judge.name}: give {FEWEST}")
    changed = _changed(texts)
    given = [*PROBES, *texts, *words, *changed]
    parts = []
    for i in range(0, len(given), BATCH):
        parts.append(checked(judge, given[i : i + BATCH]))
        tick(len(parts[-1]))
    ends = np.cumsum([len(PROBES), len(texts), len(words)])
    probes, vectors, alike, moved = np.split(np.concatenate(parts), ends)
    alone = np.concatenate([checked(judge, [text]) for text in texts[:ALONE]])
    tick(len(alone))
    ours, theirs = reader.encode([*texts, *changed]), np.concatenate([vectors, moved])
    noise = float(np.max(1 - cosine(alone, vectors[: len(alone)])))
    apart = 1 - cosine(probes[:-1], probes[1:])
    space = _space(vectors)
    known, words_known = (
        unit((unit(part) - space["centre"]) @ space["whitening"]) for part in (vectors, alike)
    )
    fitted = _fit(known, ours[: len(texts)], _tokens(reader, texts))
    return Alignment(
        judge.info,
        reader.info,
        len(texts),
        scale=_apart(theirs, len(changed)) / _apart(ours, len(changed)),
        noise=noise,
        sees_case=bool(apart[0] > max(SAME, 4 * noise)),
        sees_spacing=bool(apart[1] > max(SAME / 10, 4 * noise)),
        sees_accents=bool(apart[2] > max(SAME, 4 * noise)),
        probes=probes,
        texts=[*texts, *words],
        words=list(words.values()),
        known=pack(np.concatenate([known, words_known])),
        **space,
        **fitted,
        **_odds(known, words_known, _inside(reader, texts, words)),
    )


def _space(vectors: np.ndarray) -> dict[str, Any]:
    """The mean of vectors [n, dim], and what makes them spread alike in all directions."""
    centre = unit(vectors).mean(0)
    centred = unit(vectors) - centre
    spread, axes = np.linalg.eigh(centred.T @ centred / len(centred))
    whitening = axes / np.sqrt(spread + spread.mean())
    return {"centre": centre.astype(np.float32), "whitening": whitening.astype(np.float32)}


def _fit(x: np.ndarray, ours: np.ndarray, tokens: np.ndarray) -> dict[str, Any]:
    """The map of whitened vectors x [n, dim] to [n, reader's dim], and its agreement on held-out
    pairs."""
    y = np.concatenate([ours, np.log(tokens)[:, None]], 1)
    order = np.random.default_rng(0).permutation(len(x))
    held, rest = np.split(order, [max(1, round(HELD_OUT * len(x)))])

    def agreement(strength: float) -> float:
        weights, mean = ridge(x[rest], y[rest], strength)
        mapped = x[held] @ weights + mean
        return float(cosine(mapped[:, :-1], y[held, :-1]).mean())

    found = {strength: agreement(strength) for strength in STRENGTHS}
    best = max(found, key=found.__getitem__)
    weights, mean = (part.astype(np.float32) for part in ridge(x, y, best))
    back = np.vstack(ridge(ours, x, best)).astype(np.float32)
    return {
        "agreement": found[best],
        "weights": np.ascontiguousarray(weights[:, :-1]),
        "mean": mean[:-1],
        "lengths": np.append(weights[:, -1], mean[-1]),
        "back": back,
    }


def _odds(texts: np.ndarray, words: np.ndarray, inside: np.ndarray) -> dict[str, Any]:
    """How well whitened vectors tell which words, of whitened vectors [words, dim], texts [n, dim]
    have; inside is bool [n, words]."""
    cosines = texts @ words.T
    usual = np.stack([cosines.mean(0), cosines.std(0) + 1e-6], 1).astype(np.float32)
    apart = (cosines - usual[:, 0]) / usual[:, 1]
    bins = np.digitize(apart, STEPS)
    with_it, without = (
        np.bincount(bins[part], minlength=len(STEPS) + 1) for part in (inside, ~inside)
    )
    nats = np.log((with_it + 0.1) / (without + 0.1) * (~inside).sum() / max(1, inside.sum()))
    slope, constant = np.polyfit(STEPS[:-1] + 0.5, nats[1:-1], 1, w=np.sqrt(with_it[1:-1] + 0.1))
    return {"usual": usual, "odds": np.array([slope, constant], np.float32)}


def _inside(reader: Embedder, texts: Sequence[str], words: dict[str, int]) -> np.ndarray:
    """Which words each text has: bool [texts, words]."""
    places = {token: place for place, token in enumerate(words.values())}
    inside = np.zeros((len(texts), len(words)), bool)
    for row, tokens in zip(inside, reader.tokenize(texts), strict=True):
        row[[places[token] for token in tokens if token in places]] = True
    return inside


def ridge(x: np.ndarray, y: np.ndarray, strength: float) -> tuple[np.ndarray, np.ndarray]:
    """Weights [d, m] and constant [m] of the ridge regression of y [n, m] on x [n, d], in whichever
    of the two equal forms is smaller."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    centre, mean = x.mean(0), y.mean(0)
    x, y = x - centre, y - mean
    if len(x) < x.shape[1]:
        weights = x.T @ np.linalg.solve(x @ x.T + strength * np.eye(len(x)), y)
    else:
        weights = np.linalg.solve(x.T @ x + strength * np.eye(x.shape[1]), x.T @ y)
    return weights, mean - centre @ weights


def _changed(texts: Sequence[str]) -> list[str]:
    """Some of the texts, each with its middle word replaced by one of another text, behind the
    same texts as they were."""
    words = [text.split() for text in texts]
    chosen = [i for i, row in enumerate(words) if len(row) >= 4][:CHANGED]
    plain = [texts[i] for i in chosen]
    changed = []
    for i, other in zip(chosen, [*chosen[1:], *chosen[:1]], strict=True):
        row, foreign = list(words[i]), words[other]
        row[len(row) // 2] = foreign[len(foreign) // 2]
        changed.append(" ".join(row))
    return [*plain, *changed]


def _apart(vectors: np.ndarray, changed: int) -> float:
    """Median 1 - cosine of the texts of :func:`_changed`, the last rows, before and after."""
    before, after = np.split(vectors[len(vectors) - changed :], 2)
    return float(np.median(1 - cosine(before, after)))


def _tokens(reader: Embedder, texts: Sequence[str]) -> np.ndarray:
    """How many tokens texts have for the reader, without special ones."""
    return np.array([max(1, len(row) - 2) for row in reader.tokenize(texts)], np.float64)
