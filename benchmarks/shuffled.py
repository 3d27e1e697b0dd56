"""How much of the figures comes from the vectors: recovered texts against their own references, and
against those of other texts.

python benchmarks/shuffled.py TEXTS [--inverter minilm-exact] [--limit 200] [--rounds N] [--beam N]
"""

import json
import platform
import time
from dataclasses import dataclass
from itertools import islice

import numpy as np
import tyro

from nanov2t import load_inverter
from nanov2t.cli.inputs import references_of
from nanov2t.core.passages import read_passages
from nanov2t.evaluation.metrics import summarize
from nanov2t.pretrained import DEFAULT
from nanov2t.search.options import BEAM


@dataclass
class Options:
    texts: tyro.conf.Positional[str]
    inverter: str = DEFAULT
    limit: int = 200
    rounds: int | None = None
    beam: int = BEAM


if __name__ == "__main__":
    options = tyro.cli(Options)
    inverter = load_inverter(options.inverter)
    texts = references_of(inverter, list(islice(read_passages(options.texts), options.limit)))
    began = time.perf_counter()
    found = inverter.invert(inverter.embedder.encode(texts), options.rounds, options.beam)
    print(f"{platform.processor() or platform.machine()}, {time.perf_counter() - began:.0f} s")
    own, other = summarize(found, texts), summarize(found, np.roll(texts, 1).tolist())
    for row in own["rounds"]:
        print(json.dumps(row))
    for name, result in (("own", own), ("shuffled", other)):
        print(
            name,
            json.dumps(
                {key: result[key] for key in ("n", "bleu", "token_f1", "exact_match", "cosine")}
            ),
        )
    print(
        f"{own['embedder_calls_per_text']:.0f} embedder calls and {own['seconds_per_text']:.2f} "
        f"s a text"
    )
    print(f"token F1 ratio {own['token_f1']['value'] / other['token_f1']['value']:.2f}")
