"""The cost of searching for the vectors of another embedder, against the reader's own.

    python benchmarks/aligned.py passages.txt [--tokens 8] [--limit 8] [--budget 1000]

Both searches take turns over the same texts and spend the same number of embeddings: the vectors
carry noise, so no text is exact. The other embedder is MiniLM again, behind a function. Times are
processor seconds of one thread; those of the function are taken off.
"""

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import tyro
from exact import crops

from nanov2t import load_embedder, load_inverter
from nanov2t.core.passages import read_passages
from nanov2t.core.vectors import unit
from nanov2t.pretrained import DEFAULT
from nanov2t.search.options import Budget

NOISE = 0.005
"""Standard deviation of the noise on each number."""


@dataclass
class Judge:
    """An embedder behind a function, and the time it takes."""

    seconds: float = 0.0
    embedder: object = field(default_factory=lambda: load_embedder("minilm"))

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        began = time.process_time()
        vectors = self.embedder.encode(texts)
        self.seconds += time.process_time() - began
        return vectors


def main(
    passages: tyro.conf.Positional[str],
    tokens: int = 8,
    limit: int = 8,
    skip: int = 0,
    budget: int = 1000,
) -> None:
    torch.set_num_threads(1)
    judge = Judge()
    own = load_inverter(DEFAULT, budget=Budget(embeddings=budget))
    aligned = load_inverter(DEFAULT, embedder=judge, budget=Budget(embeddings=budget))
    rows = itertools.islice(read_passages(passages), skip, None)
    texts = itertools.islice(crops(rows, own, tokens, 1), limit)
    noise = np.random.default_rng(0)
    seconds = {"own": [], "aligned": []}
    for text in texts:
        vector = own.reader.encode([text])
        vector = unit(vector + noise.normal(0, NOISE, vector.shape)).astype(np.float32)
        for name, inverter in (("own", own), ("aligned", aligned)):
            judge.seconds, began = 0.0, time.process_time()
            [found] = inverter.invert(vector)
            taken = time.process_time() - began - judge.seconds
            seconds[name].append(1000 * taken / found.embedder_calls)
    a, b = (np.array(seconds[name]) for name in ("aligned", "own"))
    print(
        f"n = {len(a)}: {a.mean():.2f} ms an embedding, its own search {b.mean():.2f}: "
        f"ratio {a.mean() / b.mean():.2f} (median of texts {np.median(a / b):.2f})"
    )


if __name__ == "__main__":
    tyro.cli(main)
