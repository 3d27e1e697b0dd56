"""A small random BERT, and what is learnt of it."""

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Normalize, Pooling, Transformer
from support import HERE
from transformers import BertConfig, BertModel

from nanov2t.embedders.registry import load_embedder
from nanov2t.train.network import study_embedder


@pytest.fixture(scope="session")
def bert_folder(minilm, tmp_path_factory):
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("bert")
    shape = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = BertConfig(**shape, intermediate_size=128, vocab_size=len(minilm.tokenizer))
    config.initializer_range = 0.1
    BertModel(config).save_pretrained(folder / "transformer")
    minilm.tokenizer.save_pretrained(folder / "transformer")
    transformer = Transformer(str(folder / "transformer"), max_seq_length=64)
    modules = [transformer, Pooling(64, "mean"), Normalize()]
    SentenceTransformer(modules=modules, device="cpu").save(str(folder / "whole"))
    return folder / "whole"


@pytest.fixture(scope="session")
def embedder(bert_folder):
    return load_embedder(str(bert_folder), "cpu")


@pytest.fixture(scope="session")
def studied(embedder, tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    return study_embedder(embedder, str(HERE / "passages.txt"), 4000, cache)


@pytest.fixture(scope="session")
def inverter_folder(studied, tmp_path_factory):
    """As `nanov2t study` leaves it: with a dictionary alone."""
    folder = tmp_path_factory.mktemp("inverter")
    studied.dictionary.save(folder / "dictionary")
    return folder
