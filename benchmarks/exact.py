"""How often texts come back exactly, by length: crops of a number of tokens, or whole lines.

    python benchmarks/exact.py PASSAGES [--tokens 4 8 16 32] [--limit 100] [--skip 0]
    python benchmarks/exact.py --lines tests/secrets.txt
    python benchmarks/exact.py PASSAGES --tokens 8 --embedder all-mpnet-base-v2
    python benchmarks/exact.py --lines tests/sentences.txt --embedder multilingual-e5-small

Draws one crop from each passage, at a random word. Prints a row for each length, with 95 %
bootstrap intervals over texts and the cost, and the progress on stderr. Seconds are those of a text
in a batch of eight.
"""

import itertools
import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import tyro

from nanov2t import load_embedder, load_inverter
from nanov2t.align.making import make_alignment
from nanov2t.core.passages import read_passages
from nanov2t.embedders.text import decode_texts, reference
from nanov2t.evaluation.metrics import bleu, exact_match, interval, token_f1
from nanov2t.inverter import Inverter
from nanov2t.pretrained import DEFAULT, PAIRS
from nanov2t.search.options import UNLIMITED, Budget
from nanov2t.search.state import Inversion

PART = 8
"""Texts inverted together."""
WITHIN = (1_000, 2_000, 5_000, 10_000, 20_000)
"""Limits of embeddings within which texts are counted as found."""


@dataclass
class Options:
    passages: tyro.conf.Positional[str] = ""
    lines: str = ""
    """Whole lines of this file instead of crops."""
    tokens: tuple[int, ...] = (4, 8, 16, 32)
    limit: int = 100
    skip: int = 0
    """Passages to skip."""
    inverter: str = DEFAULT
    embedder: str | None = None
    """The embedder that made the vectors; None: the inverter's own."""
    pairs: int = PAIRS
    """Texts on which its alignment is fitted."""
    effort: Literal["fast", "default", "thorough"] = "default"
    budget: int = 0
    """Embeddings for each text; 0: those of the effort."""
    seed: int = 1
    threads: int = 0
    show: int = 0
    """Missed texts to print beside what was found."""


def crops(passages: Iterator[str], inverter: Inverter, tokens: int, seed: int) -> Iterator[str]:
    """One crop of each passage that is long enough."""
    tokenizer, draw = inverter.tokenizer, random.Random(seed)
    for passage in passages:
        encoding = tokenizer(passage, add_special_tokens=False, verbose=False)
        ids, words = encoding["input_ids"], encoding.word_ids()
        if len(ids) < tokens + 2:
            continue
        start = draw.randrange(len(ids) - tokens)
        while start > 0 and words[start] == words[start - 1]:
            start -= 1
        yield decode_texts([ids[start : start + tokens]], tokenizer, inverter.reader)[0]


def measure(inverter: Inverter, texts: list[str], show: int) -> dict[str, object]:
    """Invert texts, print the figures on stderr after each part, and return them."""
    vectors = inverter.embedder.encode(texts)
    began, found, row = time.perf_counter(), [], {}
    for start in range(0, len(texts), PART):
        part = inverter.invert(vectors[start : start + PART])
        for inversion, text in zip(part, texts[start:], strict=False):
            if inversion.text != text and (show := show - 1) >= 0:
                print(f"  {inversion.cosine:.4f} {inversion.stopped}: {inversion.text}")
                print(f"         {text}", flush=True)
        found += part
        row = figures(found, texts[: len(found)], time.perf_counter() - began)
        print(json.dumps(row), file=sys.stderr, flush=True)
    return row


def figures(found: list[Inversion], texts: list[str], seconds: float) -> dict[str, object]:
    answers = [inversion.text for inversion in found]
    exact = exact_match(answers, texts)
    calls = [inversion.embedder_calls for inversion in found]
    return {
        "n": len(texts),
        "exact": round(float(exact.mean()), 1),
        "exact_ci95": [round(x, 1) for x in interval(exact)],
        "exact_within": {
            n: round(float(exact[np.array(calls) <= n].sum()) / len(texts), 1) for n in WITHIN
        },
        "bleu": round(float(bleu(answers, texts).mean()), 1),
        "token_f1": round(float(token_f1(answers, texts).mean()), 1),
        "1-cosine": round(float(np.mean([1 - inversion.cosine for inversion in found])), 4),
        "embeddings": round(float(np.mean(calls))),
        "embeddings_median": round(float(np.median(calls))),
        "seconds": round(seconds / len(texts), 2),
    }


def load(options: Options, budget: Budget) -> Inverter:
    """The inverter, with an alignment fitted on options.pairs texts."""
    spec: str | Path = options.inverter
    embedder = None if options.embedder is None else load_embedder(options.embedder)
    if embedder is not None and options.pairs != PAIRS:
        made = make_alignment(embedder, load_embedder("minilm"), pairs=options.pairs)
        spec = Path(tempfile.mkdtemp()) / "aligned"
        made.save(spec)
    inverter = load_inverter(spec, embedder=embedder, effort=options.effort, budget=budget)
    if inverter.alignment:
        print(json.dumps({"agreement": round(inverter.alignment.agreement, 3)}))
    return inverter


def main(options: Options) -> None:
    if options.threads:
        torch.set_num_threads(options.threads)
    budget = Budget(embeddings=options.budget) if options.budget else UNLIMITED
    inverter = load(options, budget)
    if options.lines:
        lines = list(read_passages(options.lines))[options.skip :][: options.limit]
        limit, embedder = inverter.max_tokens, inverter.embedder
        texts = [reference(line, inverter.tokenizer, embedder, limit) for line in lines]
        print(json.dumps({"lines": options.lines} | measure(inverter, texts, options.show)))
        return
    for tokens in options.tokens:
        passages = itertools.islice(read_passages(options.passages), options.skip, None)
        drawn = crops(passages, inverter, tokens, options.seed)
        texts = list(itertools.islice(drawn, options.limit))
        row = {"tokens": tokens} | measure(inverter, texts, options.show)
        print(json.dumps(row))
        sys.stdout.flush()


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
