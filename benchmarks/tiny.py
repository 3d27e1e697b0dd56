"""A tiny untrained inverter of a tiny untrained embedder, and random vectors: what is measured with
them is everything but the networks.

    python benchmarks/tiny.py OUT_DIR --tokens 4 --rows 1000000
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import modules
from transformers import BertConfig, BertModel, BertTokenizerFast

from nanov2t.embedders.registry import load_embedder
from nanov2t.t5.stages import build_generator
from nanov2t.train.config import ModelConfig, T5Data, T5Recipe


def embedder(out: Path, dim: int = 384) -> Path:
    """Save a BERT of one layer that knows the two-letter words."""
    torch.manual_seed(0)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *letters,
        *(a + b for a in letters for b in letters),
    ]
    out.mkdir(parents=True, exist_ok=True)
    (out / "vocab.txt").write_text("\n".join(words))
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=dim,
        num_hidden_layers=1,
        num_attention_heads=6,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(out / "bert")
    BertTokenizerFast(str(out / "vocab.txt"), model_max_length=64).save_pretrained(out / "bert")
    bert = modules.Transformer(str(out / "bert"))
    whole = SentenceTransformer(
        modules=[bert, modules.Pooling(dim), modules.Normalize()], device="cpu"
    )
    whole.save(str(out / "whole"))
    return out / "whole"


def inverter(out: Path, tokens: int = 4, dim: int = 384) -> None:
    """Save a hypothesizer of two layers, which names its embedder by its folder."""
    name = str(embedder(out.with_name("embedder"), dim).absolute())
    config = T5Recipe(
        model=ModelConfig(
            t5="scratch",
            tokenizer="embedder",
            d_model=32,
            d_ff=64,
            d_kv=16,
            heads=2,
            layers=2,
            pseudo_tokens=2,
        ),
        data=T5Data(max_tokens=tokens, min_tokens=1),
    )
    generator, tokenizer = build_generator(config, load_embedder(name, "cpu"))
    torch.nn.init.normal_(generator.words, std=4)  # or all vectors would give one text
    generator.save_pretrained(out, tokenizer)


def vectors(path: Path, rows: int, dim: int = 384) -> None:
    """Save random unit vectors, a chunk at a time."""
    array = np.lib.format.open_memmap(path, "w+", np.float32, (rows, dim))
    random = np.random.default_rng(0)
    for start in range(0, rows, 65536):
        part = random.standard_normal((min(65536, rows - start), dim), np.float32)
        array[start : start + len(part)] = part / np.linalg.norm(part, axis=1, keepdims=True)
    array.flush()


@dataclass
class Tiny:
    out: tyro.conf.Positional[Path]
    tokens: int = 4
    rows: int = 10000


if __name__ == "__main__":
    options = tyro.cli(Tiny)
    inverter(options.out / "inverter", options.tokens)
    vectors(options.out / "vectors.npy", options.rows)
