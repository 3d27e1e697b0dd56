"""Alignments by embedder: made at its first use, then kept in the cache folder."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from nanov2t.align.alignment import Alignment
from nanov2t.align.fit import FEWEST, align, texts_embedded, words_of
from nanov2t.core.errors import UserError
from nanov2t.core.files import cache_folder, digest
from nanov2t.core.passages import read_passages
from nanov2t.core.progress import progress
from nanov2t.embedders.base import Embedder
from nanov2t.embedders.text import decode_texts
from nanov2t.pretrained import PAIRS, SENTENCES

LENGTHS = (4, 8, 16)
"""Tokens of the texts that an alignment is fitted on."""
WORDS = 3
"""Single words that are embedded for each of them."""
CHARACTERS = 4
"""Characters of a token, on average, to estimate what an API will count."""


def alignment_of(judge: Embedder, reader: Embedder) -> Alignment:
    """The alignment of an embedder: the one that is kept, if the embedder is still the same, or
    one made now.

    Raises:
        UserError: the embedder fails or gives vectors that cannot be used.
    """
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
    """Fit an alignment, with a bar on the terminal.

    Args:
        texts: a source of texts like those that are to be found; by default sentences of ours.
        pairs: crops of them that are embedded.

    Raises:
        UserError: as :func:`~nanov2t.align.fit.align`, or there are too few texts.
    """
    if pairs < FEWEST:
        raise UserError(f"--pairs must be at least {FEWEST}, not {pairs}")
    source = read_passages(texts or str(SENTENCES))
    chosen = crops(source, reader, pairs)
    words = words_of(reader, WORDS * pairs)
    embedded = texts_embedded(chosen, words)
    tokens = sum(map(len, embedded)) // CHARACTERS
    print(
        f"nanov2t: aligning {judge.name} once: {len(embedded):,} texts, about {tokens:,} tokens",
        file=sys.stderr,
    )
    with progress("aligning", len(embedded)) as tick:
        return align(judge, reader, chosen, words, tick)


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
