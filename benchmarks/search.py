"""The default search against the exhaustive one: the same weights and texts, batch by batch in
turn.

    python benchmarks/search.py TEXTS [--inverter NAME] [--limit 24] [--batch 8] [--words N]

`--words` cuts the texts to their first N words: an inverter that finds no long text exactly may
find short ones. Peak memory is that of a process which runs three rounds of one search alone, on
the first batch: `--only` asks for it.
"""

import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import islice
from statistics import median
from typing import Literal

import torch
import tyro

from nanov2t import load_inverter
from nanov2t.cli.inputs import references_of
from nanov2t.core.passages import read_passages
from nanov2t.evaluation.evaluate import summarize
from nanov2t.inverter import Inverter
from nanov2t.pretrained import DEFAULT
from nanov2t.search.exhaustive import LastRound
from nanov2t.search.population import Population
from nanov2t.search.ranking import BestSoFar


@dataclass
class Options:
    texts: tyro.conf.Positional[str]
    inverter: str = DEFAULT
    limit: int = 24
    batch: int = 8
    words: int | None = None
    only: Literal["", "default", "exhaustive"] = ""


class Counting:
    """Counts the hypotheses that searches propose while it is entered, those among them that were
    seen before too."""

    def __init__(self):
        self.proposed = 0
        self.ranks = {kind: kind.rank for kind in (BestSoFar, LastRound, Population)}

    def __enter__(self):
        def counting(original):
            def rank(ranking, states, suggested):
                self.proposed += sum(map(len, suggested))
                original(ranking, states, suggested)

            return rank

        for kind, original in self.ranks.items():
            kind.rank = counting(original)
        return self

    def __exit__(self, *_):
        for kind, original in self.ranks.items():
            kind.rank = original


def peak() -> float:
    """MiB: of the GPU where there is one, else of the process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def main(options: Options) -> None:
    inverter = load_inverter(options.inverter)
    searches = [
        inverter,
        Inverter(
            inverter.embedder,
            inverter.tokenizer,
            inverter.hypothesizer,
            inverter.corrector,
            inverter.dictionary,
            search="exhaustive",
        ),
    ]
    passages = islice(read_passages(options.texts), options.limit)
    texts = references_of(inverter, [" ".join(text.split()[: options.words]) for text in passages])
    vectors = inverter.embedder.encode(texts)
    if options.only:
        next(s for s in searches if s.search == options.only).invert(
            vectors[: options.batch], rounds=3
        )
        print(f"{peak():.0f}")
        return
    found = {s.search: [] for s in searches}
    seconds = {s.search: [] for s in searches}
    counts = {s.search: Counting() for s in searches}
    for start in range(0, len(texts), options.batch):
        for s in searches:
            part = vectors[start : start + options.batch]
            began = time.perf_counter()
            with counts[s.search]:
                found[s.search] += s.invert(part)
            seconds[s.search].append((time.perf_counter() - began) / len(part))
            print(
                f"{s.search} {len(found[s.search])}/{len(texts)}: {seconds[s.search][-1]:.2f} s "
                f"a text",
                flush=True,
            )
    print(
        "\n| search | n | s a text (median of batches) | embedder calls a text | hypotheses "
        "proposed a text | BLEU | "
        "token F1 | exact match | 1 - cosine | peak MiB "
        "|\n|---|---|---|---|---|---|---|---|---|---|"
    )
    for name, inversions in found.items():
        result = summarize(inversions, texts)
        again = [sys.executable, __file__, *sys.argv[1:], "--only", name]
        memory = subprocess.run(again, capture_output=True, text=True, check=True).stdout.split()[
            -1
        ]
        shown = (
            (result[key]["value"], *result[key]["ci95"])
            for key in ("bleu", "token_f1", "exact_match")
        )
        figures = " | ".join(f"{value:.1f} ({low:.1f} to {high:.1f})" for value, low, high in shown)
        print(
            f"| {name} | {len(texts)} | {median(seconds[name]):.2f} | "
            f"{result['embedder_calls_per_text']:.0f} | "
            f"{counts[name].proposed / len(texts):.0f} | {figures} | "
            f"{1 - result['cosine']['value']:.4f} | {memory} |"
        )
    ratios = [
        slow / fast for fast, slow in zip(seconds["default"], seconds["exhaustive"], strict=True)
    ]
    print(
        f"\nexhaustive over default, seconds: {median(ratios):.1f} ({min(ratios):.1f} to "
        f"{max(ratios):.1f})"
    )


if __name__ == "__main__":
    main(tyro.cli(Options))
