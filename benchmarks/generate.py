"""Our beam search against transformers' and against the machine's peak: corrections of real drafts,
in float32 and in the dtype of the search.

    python benchmarks/generate.py TEXTS --inverter NAME [--limit 32] [--beam 8] [--repeat 5]

The runs are interleaved; figures are medians. The peak is that of a product of two square matrices,
measured in the same run. An inverter with a lexical head is not compared fairly: transformers runs
without it.
"""

import time
from dataclasses import dataclass
from itertools import islice
from statistics import median

import torch
import tyro
from torch.utils.flop_counter import FlopCounterMode

from nanov2t import Generator, load_inverter
from nanov2t.cli.inputs import references_of
from nanov2t.core.passages import read_passages
from nanov2t.fast import packed, search_dtype
from nanov2t.search.options import BEAM
from nanov2t.t5.decoding import by_transformers

SQUARE = 2048


@dataclass
class Options:
    texts: tyro.conf.Positional[str]
    inverter: str
    limit: int = 32
    beam: int = BEAM
    repeat: int = 5


def timed(function) -> float:
    began = time.perf_counter()
    function()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


def corrections(inverter, options: Options) -> tuple[torch.Tensor, ...]:
    """The corrector's input for texts: vectors of targets and drafts [n, dim], ids and mask of the
    drafts [n, tokens]."""
    texts = references_of(inverter, list(islice(read_passages(options.texts), options.limit)))
    targets = torch.from_numpy(inverter.embedder.encode(texts)).to(inverter.corrector.device)
    drafts = inverter.tokenizer.batch_decode(
        inverter.hypothesizer.generate(targets), skip_special_tokens=True
    )
    vectors = torch.from_numpy(inverter.embedder.encode(drafts)).to(targets.device)
    rows = inverter.tokenizer(
        drafts, padding=True, add_special_tokens=False, return_tensors="pt"
    ).to(targets.device)
    return targets, vectors, rows["input_ids"], rows["attention_mask"]


def compare(generator, given: tuple[torch.Tensor, ...], options: Options) -> str:
    """One row: both beam searches and a product of square matrices, run in turn."""
    beams, longest = options.beam, generator.config.max_tokens + 2
    square = torch.randn(SQUARE, SQUARE, device=generator.device).to(given[0].dtype)
    writer = packed(generator)

    def ours(writer):
        return writer.generate(
            *given, num_beams=beams, num_return_sequences=beams, max_length=longest
        )

    def theirs():
        states, mask = generator.encode(*given)
        return by_transformers(generator.t5, states, mask, beams, beams, longest)

    a, b = ours(writer), theirs()
    equal = float((a == b).all(1).float().mean()) if a.shape == b.shape else 0.0
    # The counter does not know packed products.
    with FlopCounterMode(display=False) as counter:
        ours(generator)
    runs = [
        (timed(lambda: ours(writer)), timed(theirs), timed(lambda: square @ square))
        for _ in range(options.repeat)
    ]
    mine, other, product = (median(column) for column in zip(*runs, strict=True))
    achieved, peak = counter.get_total_flops() / mine, 2 * SQUARE**3 / product
    per = 1e3 / (options.limit * beams)
    return (
        f"{per * mine:.1f} ms a hypothesis, transformers {per * other:.1f} ms, "
        f"ratio {other / mine:.2f} (runs {', '.join(f'{y / x:.2f}' for x, y, _ in runs)}); "
        f"equal ids {equal:.4f}; {achieved / 1e9:.0f} of {peak / 1e9:.0f} GFLOP/s "
        f"({achieved / peak:.0%})"
    )


@torch.inference_mode()
def main(options: Options) -> None:
    inverter = load_inverter(options.inverter)
    generator = inverter.corrector
    if not isinstance(generator, Generator):
        raise SystemExit(f"{options.inverter}: its corrector is no T5")
    targets, vectors, ids, mask = corrections(inverter, options)
    # A processor without bfloat16 multiplies it a hundred times slower.
    for kind in sorted({torch.float32, search_dtype(generator.device)}, key=str, reverse=True):
        generator.to(kind)
        given = (targets.to(kind), vectors.to(kind), ids, mask)
        print(f"{kind}: {compare(generator, given, options)}", flush=True)


if __name__ == "__main__":
    main(tyro.cli(Options))
