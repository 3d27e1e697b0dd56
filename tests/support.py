"""What tests of several packages share."""

from pathlib import Path

import numpy as np
import tiny
import torch
from safetensors.torch import load_file

from nanov2t.bulk import PART_ROWS
from nanov2t.recipes import train
from nanov2t.train.checkpoint import Checkpoints
from nanov2t.train.config import DraftConfig, ModelConfig, T5Data, T5Recipe, T5Steps

HERE = Path(__file__).parent
VECTORS = 3 * PART_ROWS + 100
BAD = {7: "zero", PART_ROWS + 1: "not finite"}
"""Rows of a store that cannot be inverted, and why."""
FIXTURES = HERE / "fixtures"
GENERATOR_INPUTS = (
    "target_embeddings",
    "draft_embeddings",
    "draft_input_ids",
    "draft_attention_mask",
)
TINY = {
    "t5": "scratch",
    "tokenizer": "embedder",
    "d_model": 64,
    "d_ff": 128,
    "d_kv": 16,
    "heads": 4,
    "layers": 2,
    "pseudo_tokens": 4,
}


def tiny_config(out: Path = Path("unused"), hypothesizer: str = "", **settings) -> T5Recipe:
    """Stage 1, or stage 2 after a hypothesizer, for MiniLM on the passages beside this file, small
    enough to train within a test."""
    passages = str(HERE / "passages.txt")
    return T5Recipe(
        out=out,
        data=T5Data(train=passages, dev=passages, crop="start", cache=out / "cache"),
        model=ModelConfig(**TINY),
        drafts=DraftConfig(share=int(bool(hypothesizer)), hypothesizer=hypothesizer),
        optim=T5Steps(batch=8, micro_batch=4, epochs=0.9),
        eval_limit=4,
        precision="fp32",
        **settings,
    )


def vectors_with_bad_rows(path: Path) -> None:
    """Save VECTORS random vectors, two of them BAD."""
    tiny.vectors(path, VECTORS)
    vectors = np.load(path, mmap_mode="r+")
    zero, infinite = BAD
    vectors[zero], vectors[infinite, 5] = 0, np.inf


def recorded(folder: str) -> tuple[dict, dict]:
    """A published checkpoint's inputs among the fixtures, and all that its own code gave."""
    tensors = load_file(FIXTURES / folder / "expected.safetensors")
    return {name: tensors[name] for name in GENERATOR_INPUTS if name in tensors}, tensors


def logits(generator, folder: str) -> torch.Tensor:
    inputs, tensors = recorded(folder)
    with torch.inference_mode():
        return generator(**inputs, labels=tensors["labels"]).logits


def weights(out):
    return load_file(out / "model" / "model.safetensors")


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


class Stop:
    """Trains until checkpoint `after` is written, then dies as if killed between two steps."""

    class Now(Exception):
        pass

    def __init__(self, config, after):
        self.config, self.after = config, after

    def __call__(self):
        save = Checkpoints.save

        def save_and_die(this, step, *rest):
            save(this, step, *rest)
            if step == self.after:
                raise Stop.Now

        Checkpoints.save = save_and_die
        try:
            train(self.config)
        finally:
            Checkpoints.save = save
