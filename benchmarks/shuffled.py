"""How much of a figure is the vector's doing: the same texts with their own vectors and with one another's.

    python benchmarks/shuffled.py TEXTS [--inverter minilm-wiki32] [--limit 200] [--rounds N] [--beam N]
"""

import json
from dataclasses import dataclass
from itertools import islice

import numpy as np
import tyro

from nanov2t import load_inverter
from nanov2t.config import BEAM, ROUNDS
from nanov2t.data import read_passages, reference
from nanov2t.evaluate import evaluate


@dataclass
class Options:
    texts: tyro.conf.Positional[str]
    inverter: str = "minilm-wiki32"
    limit: int = 200
    rounds: int = ROUNDS
    beam: int = BEAM


if __name__ == "__main__":
    options = tyro.cli(Options)
    inverter = load_inverter(options.inverter)
    texts = [reference(text, inverter.tokenizer, inverter.embedder, inverter.max_tokens)
             for text in islice(read_passages(options.texts), options.limit)]
    vectors = inverter.embedder.encode(texts)
    own = evaluate(inverter, texts, vectors, options.rounds, options.beam)
    # Every text is compared with what another one's vector gave, so the search need not run again.
    shuffled = np.roll(np.arange(len(texts)), 1)
    other = evaluate(inverter, [texts[i] for i in shuffled], vectors, options.rounds, options.beam)
    for name, result in (("own vectors", own), ("shuffled", other)):
        print(json.dumps({"vectors": name, **{key: result[key] for key in ("n", "bleu", "token_f1", "exact_match")}}))
    print(json.dumps(own["rounds"]))
    print(f"token F1 ratio {own['token_f1']['value'] / other['token_f1']['value']:.2f}")
