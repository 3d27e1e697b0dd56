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
from dataclasses import dataclass, field
from itertools import islice
from statistics import median
from typing import Literal

import numpy as np
import torch
import tyro

from nanov2t import Inversion, load_inverter
from nanov2t.cli.inputs import references_of
from nanov2t.core.passages import read_passages
from nanov2t.evaluation.evaluate import summarize
from nanov2t.inverter import Inverter
from nanov2t.pretrained import DEFAULT
from nanov2t.search.exhaustive import LastRound
from nanov2t.search.population import Population
from nanov2t.search.ranking import BestSoFar

HEADER = (
    "| search | n | s a text (median of batches) | embedder calls a text | "
    "hypotheses proposed a text | BLEU | token F1 | exact match | 1 - cosine | peak MiB |\n"
    + "|---" * 10
    + "|"
)


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


def searches_of(inverter: Inverter) -> dict[str, Inverter]:
    """The inverter with its default search, and the same networks with the exhaustive one."""
    exhaustive = Inverter(
        inverter.embedder,
        inverter.tokenizer,
        inverter.hypothesizer,
        inverter.corrector,
        inverter.dictionary,
        search="exhaustive",
    )
    return {"default": inverter, "exhaustive": exhaustive}


@dataclass
class Run:
    """What one search has done so far."""

    search: Inverter
    inversions: list[Inversion] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)  # a text, one entry a batch
    proposals: Counting = field(default_factory=Counting)

    def invert(self, vectors: np.ndarray) -> None:
        """`vectors`: float32 [n, dim]."""
        began = time.perf_counter()
        with self.proposals:
            self.inversions += self.search.invert(vectors)
        self.seconds.append((time.perf_counter() - began) / len(vectors))


def run_in_turn(runs: dict[str, Run], vectors: np.ndarray, batch: int) -> None:
    for start in range(0, len(vectors), batch):
        for name, run in runs.items():
            run.invert(vectors[start : start + batch])
            done = f"{len(run.inversions)}/{len(vectors)}"
            print(f"{name} {done}: {run.seconds[-1]:.2f} s a text", flush=True)


def peak_alone(name: str) -> str:
    """MiB, of a process that runs this search and no other."""
    again = [sys.executable, __file__, *sys.argv[1:], "--only", name]
    return subprocess.run(again, capture_output=True, text=True, check=True).stdout.split()[-1]


def row(name: str, run: Run, texts: list[str]) -> str:
    """A row of the table under `HEADER`."""
    result = summarize(run.inversions, texts)
    measures = (result[key] for key in ("bleu", "token_f1", "exact_match"))
    cells = [
        name,
        len(texts),
        f"{median(run.seconds):.2f}",
        f"{result['embedder_calls_per_text']:.0f}",
        f"{run.proposals.proposed / len(texts):.0f}",
        *(f"{m['value']:.1f} ({m['ci95'][0]:.1f} to {m['ci95'][1]:.1f})" for m in measures),
        f"{1 - result['cosine']['value']:.4f}",
        peak_alone(name),
    ]
    return f"| {' | '.join(map(str, cells))} |"


def main(options: Options) -> None:
    inverter = load_inverter(options.inverter)
    searches = searches_of(inverter)
    passages = islice(read_passages(options.texts), options.limit)
    texts = references_of(inverter, [" ".join(text.split()[: options.words]) for text in passages])
    vectors = inverter.embedder.encode(texts)
    if options.only:
        searches[options.only].invert(vectors[: options.batch], rounds=3)
        print(f"{peak():.0f}")
        return
    runs = {name: Run(search) for name, search in searches.items()}
    run_in_turn(runs, vectors, options.batch)
    print(f"\n{HEADER}")
    for name, run in runs.items():
        print(row(name, run, texts))
    pairs = zip(runs["default"].seconds, runs["exhaustive"].seconds, strict=True)
    ratios = [slow / fast for fast, slow in pairs]
    print(
        f"\nexhaustive over default, seconds: {median(ratios):.1f} "
        f"({min(ratios):.1f} to {max(ratios):.1f})"
    )


if __name__ == "__main__":
    main(tyro.cli(Options))
