"""An embedder of GTR's build."""

from pathlib import Path

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers import models as modules
from support import FIXTURES
from torch import nn
from transformers import AutoTokenizer, T5Config, T5EncoderModel

from nanov2t.embedders.registry import load_embedder


@pytest.fixture(scope="session")
def gtr(tmp_path_factory) -> Path:
    """A Sentence Transformers model of GTR's build: T5 encoder, mean pooling, dense layer,
    normalisation."""
    folder = tmp_path_factory.mktemp("gtr")
    torch.manual_seed(0)
    config = T5Config(vocab_size=103, d_model=768, d_kv=8, num_heads=2, d_ff=16, num_layers=1)
    T5EncoderModel(config).save_pretrained(folder / "t5")
    AutoTokenizer.from_pretrained(FIXTURES / "tiny_t5").save_pretrained(folder / "t5")
    whole = SentenceTransformer(
        modules=[
            modules.Transformer(str(folder / "t5"), max_seq_length=512),
            modules.Pooling(768, "mean"),
            modules.Dense(768, 768, bias=False, activation_function=nn.Identity()),
            modules.Normalize(),
        ]
    )
    whole.save(str(folder / "whole"))
    return folder / "whole"


@pytest.fixture(scope="session")
def gtr_mean(gtr):
    """GTR's vectors before its dense layer, as vec2text took them."""
    return load_embedder(f"{gtr}#mean", "cpu")
