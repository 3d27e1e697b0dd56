"""Making an alignment: two embedders' vectors of the same texts, fitted at the first use of an
embedder and then kept in the cache folder."""

from __future__ import annotations

import itertools
import random
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nanov2t.align.alignment import SAME, Alignment, checked, pack
from nanov2t.core.errors import UserError
from nanov2t.core.files import cache_folder, digest
from nanov2t.core.passages import read_passages
from nanov2t.core.progress import progress
from nanov2t.core.vectors import cosine, unit
from nanov2t.embedders.base import Embedder
from nanov2t.embedders.function import PROBES
from nanov2t.embedders.text import decode_texts
from nanov2t.pretrained import PAIRS, SENTENCES

LENGTHS, FEWEST = (4, 8, 16), 20
"""Tokens of the texts that an alignment is fitted on, and the fewest such texts."""
WORDS, CHANGED, ALONE = 3, 64, 8
"""Single words that are embedded for each text, texts whose scale is measured with one word
exchanged, and texts embedded once more, each alone, to measure the noise."""
BATCH, CHARACTERS = 256, 4
"""Texts between two signs of progress, and characters of a token, to say what an API counts."""
STRENGTHS, HELD_OUT = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0), 0.2
"""Strengths of the ridge that are tried, and the share of the texts that chooses one."""
STEPS = np.arange(1.0, 8.0)
"""Deviations of a word's cosine between which its odds are counted."""


def alignment_of(judge: Embedder, reader: Embedder) -> Alignment:
    """The alignment of an embedder: the one that is kept, if the embedder is still the same, or one
    made now. A UserError says that the embedder's vectors cannot be used."""
    folder = kept_at(judge, reader)
    if folder.is_dir():
        try:
            kept = Alignment.load(folder)
            kept.check(judge)
            return kept
        except UserError as error:
            print(f"nanov2t: {error}", file=sys.stderr)
    made = make_alignment(judge, reader, pairs=PAIRS)
    made.save(folder)
    return made


def kept_at(judge: Embedder, reader: Embedder) -> Path:
    """The folder that keeps an embedder's alignment."""
    return cache_folder() / "alignments" / digest(judge.info, reader.info.fingerprint)


def make_alignment(
    judge: Embedder, reader: Embedder, texts: str | None = None, pairs: int = PAIRS
) -> Alignment:
    """Fit an alignment of the judge's vectors to the reader's space, with a bar on the terminal, by
    `pairs` crops of texts: a source like what is to be found; by default sentences of ours.

    Raises:
        UserError: there are too few texts, or the judge gives vectors that cannot be used.
    """
    if pairs < FEWEST:
        raise UserError(f"--pairs must be at least {FEWEST}, not {pairs}")
    chosen = crops(read_passages(texts or str(SENTENCES)), reader, pairs)
    if len(chosen) < FEWEST:
        raise UserError(f"{len(chosen)} texts are too few to align {judge.name}: give {FEWEST}")
    words, changed = _words_of(reader, WORDS * pairs), _changed(chosen)
    given = [*PROBES, *chosen, *words, *changed]
    batches = [given[i : i + BATCH] for i in range(0, len(given), BATCH)]
    batches += [[text] for text in chosen[:ALONE]]
    count = sum(map(len, batches))
    tokens = sum(len(text) for batch in batches for text in batch) // CHARACTERS
    said = f"aligning {judge.name} once: {count:,} texts, about {tokens:,} tokens"
    print(f"nanov2t: {said}", file=sys.stderr)
    parts = []
    with progress("aligning", count) as tick:
        for batch in batches:
            parts.append(checked(judge, batch))
            tick(len(batch))
    ends = np.cumsum([len(PROBES), len(chosen), len(words), len(changed)])
    made = np.split(np.concatenate(parts), ends)
    return _fitted(judge, reader, chosen, words, reader.encode([*chosen, *changed]), made)


def crops(passages: Iterable[str], reader: Embedder, count: int) -> list[str]:
    """Crops of LENGTHS tokens at random words, in turn as they stand and as the networks write."""
    draw, found = random.Random(0), dict[str, None]()
    rows = [row for passage in passages for row in _crops(passage, reader, draw)]
    draw.shuffle(rows)
    for i, (plain, written) in enumerate(rows):
        found[written if i % 2 else plain] = None
        if len(found) == count:
            break
    return list(found)


def _crops(passage: str, reader: Embedder, draw: random.Random) -> Iterator[tuple[str, str]]:
    """One crop a length, as the networks write it and as it stands."""
    tokenizer = reader.tokenizer
    encoding = tokenizer(passage, add_special_tokens=False, verbose=False)
    ids, words = encoding["input_ids"], encoding.word_ids()
    for length in LENGTHS:
        if len(ids) <= length:
            continue
        start = draw.randrange(len(ids) - length + 1)
        while start and words[start] == words[start - 1]:
            start -= 1
        end = start + length
        [plain] = decode_texts([ids[start:end]], tokenizer, reader)
        first, last = encoding.token_to_chars(start).start, encoding.token_to_chars(end - 1).end
        yield plain, passage[first:last]


def _words_of(reader: Embedder, count: int) -> dict[str, int]:
    """The reader's commonest whole words, and their token ids."""
    known = sorted(reader.tokenizer.get_vocab().items(), key=lambda item: item[1])
    whole = {word: i for word, i in known if word.isascii() and word.isalnum()}
    return dict(itertools.islice(whole.items(), count))


def _changed(texts: Sequence[str]) -> list[str]:
    """Some of the texts, then the same with the middle word replaced by one of another text."""
    plain = [text for text in texts if len(text.split()) >= 4][:CHANGED]
    rows, changed = [text.split() for text in plain], []
    for row, other in zip(rows, [*rows[1:], *rows[:1]], strict=True):
        middle = len(row) // 2
        changed.append(" ".join([*row[:middle], other[len(other) // 2], *row[middle + 1 :]]))
    return plain + changed


def _fitted(
    judge: Embedder,
    reader: Embedder,
    texts: list[str],
    words: dict[str, int],
    ours: np.ndarray,
    made: Sequence[np.ndarray],
) -> Alignment:
    """The alignment by the reader's vectors of the texts and the changed ones (ours), and the
    judge's of the probes, the texts, the words, the changed texts, and some texts alone (made)."""
    probes, vectors, alike, changed, alone = made
    noise = float(np.max(1 - cosine(alone, vectors[: len(alone)])))
    apart = 1 - cosine(probes[:-1], probes[1:])
    ours, ours_changed = np.split(ours, [len(texts)])
    moved, ours_moved = (
        float(np.median(1 - cosine(*np.split(x, 2)))) for x in (changed, ours_changed)
    )
    tokens, ids = [row[1:-1] for row in reader.tokenize(texts)], np.array([*words.values()])
    centre = unit(vectors).mean(0).astype(np.float32)
    centred = unit(vectors) - centre
    spread, axes = np.linalg.eigh(centred.T @ centred / len(centred))
    whitening = (axes / np.sqrt(spread + spread.mean())).astype(np.float32)
    known, words_known = (unit((unit(part) - centre) @ whitening) for part in (vectors, alike))
    return Alignment(
        judge.info,
        reader.info,
        len(texts),
        scale=moved / ours_moved,
        noise=noise,
        sees_case=bool(apart[0] > max(SAME, 4 * noise)),
        sees_spacing=bool(apart[1] > max(SAME / 10, 4 * noise)),
        sees_accents=bool(apart[2] > max(SAME, 4 * noise)),
        probes=probes,
        texts=[*texts, *words],
        words=ids.tolist(),
        known=pack(np.concatenate([known, words_known])),
        centre=centre,
        whitening=whitening,
        **_fit(known, ours, np.array([max(1, len(row)) for row in tokens], np.float64)),
        **_odds(known, words_known, np.array([np.isin(ids, row) for row in tokens])),
    )


def _fit(x: np.ndarray, ours: np.ndarray, tokens: np.ndarray) -> dict[str, Any]:
    """The map of whitened vectors x [n, dim] to [n, reader's dim], and its agreement on held-out
    pairs."""
    y = np.concatenate([ours, np.log(tokens)[:, None]], 1)
    order = np.random.default_rng(0).permutation(len(x))
    held, rest = np.split(order, [max(1, round(HELD_OUT * len(x)))])
    found = {}
    for strength in STRENGTHS:
        weights, mean = ridge(x[rest], y[rest], strength)
        mapped = (x[held] @ weights + mean)[:, :-1]
        found[strength] = float(cosine(mapped, y[held, :-1]).mean())
    best = max(found, key=found.__getitem__)
    weights, mean = (part.astype(np.float32) for part in ridge(x, y, best))
    return {
        "agreement": found[best],
        "weights": np.ascontiguousarray(weights[:, :-1]),
        "mean": mean[:-1],
        "lengths": np.append(weights[:, -1], mean[-1]),
        "back": np.vstack(ridge(ours, x, best)).astype(np.float32),
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
