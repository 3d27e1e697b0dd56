"""Prompts, limits and truncated dimensions: on every path to a vector, and in the fingerprint."""

import dataclasses
import itertools
import time

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from sentence_transformers import SentenceTransformer
from sentence_transformers import models as modules

from nanov2t.core.errors import UserError
from nanov2t.embedders.registry import load_embedder
from nanov2t.embedders.sentence import SentenceEmbedder
from nanov2t.load import load_inverter

PLAIN = "43c2b4586e20b8cb"
"""The fingerprint that checkpoints record of all-MiniLM-L6-v2 as it is."""
TEXTS = ["a cat", "The old ferry left the harbour at dawn, and nobody waved.", "(river) bank"]
SETTINGS = {
    "plain": {},
    "prompt": {"prompt": "passage: "},
    "another prompt": {"prompt": "query: "},
    "a prompt that runs into the text": {"prompt": "Text"},
    "truncated": {"truncate_dim": 100},
    "truncated more": {"truncate_dim": 50},
    "short": {"max_tokens": 6},
    "long": {"max_tokens": 512},
    "all of them": {"prompt": "passage: ", "truncate_dim": 100, "max_tokens": 8},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, minilm):
    """MiniLM with prompts of its own, one of which it uses by default."""
    folder = tmp_path_factory.mktemp("prompted") / "model"
    model = SentenceTransformer(
        modules=list(minilm.model),
        prompts={"query": "query: ", "passage": "passage: "},
        default_prompt_name="passage",
        device="cpu",
    )
    model.save(str(folder))
    return folder


@pytest.fixture(scope="module")
def unpooled(folder):
    """The same, whose pooling leaves the prompt out."""
    model = SentenceTransformer(str(folder), device="cpu")
    model.set_pooling_include_prompt(False)
    return SentenceEmbedder(model, "unpooled")


@pytest.fixture(scope="module")
def embedders(folder, unpooled):
    made = {name: load_embedder("minilm", "cpu", **values) for name, values in SETTINGS.items()}
    made["default prompt"] = load_embedder(str(folder), "cpu")
    made["unpooled prompt"] = unpooled
    return made


def by_library(embedder, texts):
    """What the library itself makes of the texts."""
    model, info = embedder.model, embedder.info
    return model.encode(texts, prompt=info.prompt, truncate_dim=info.truncate_dim)


def test_vectors_are_the_librarys(embedders):
    for embedder in embedders.values():
        vectors = embedder.encode(TEXTS)
        np.testing.assert_allclose(vectors, by_library(embedder, TEXTS), atol=1e-5)
        lengths = np.linalg.norm(vectors, axis=1)
        assert np.allclose(lengths, 1, atol=1e-4) == embedder.normalized
        assert vectors.shape[1] == embedder.dim


def test_texts_and_their_token_ids_give_the_same_vector(embedders):
    read = set()
    for name, embedder in embedders.items():
        if not embedder.reads(embedder.tokenizer):
            continue
        read.add(name)
        rows = embedder.tokenizer(TEXTS, add_special_tokens=False, padding=True)
        ids, mask = torch.tensor(rows["input_ids"]), torch.tensor(rows["attention_mask"])
        by_ids = embedder.encode_ids(ids, mask).numpy()
        np.testing.assert_allclose(by_ids, embedder.encode(TEXTS), atol=1e-5, err_msg=name)
    assert read == set(embedders) - {"a prompt that runs into the text"}


def test_other_vectors_have_another_fingerprint(embedders):
    long = [*TEXTS, "word " * 300]
    vectors = {name: embedder.encode(long) for name, embedder in embedders.items()}
    for one, other in itertools.combinations(embedders, 2):
        ours, theirs = vectors[one], vectors[other]
        alike = ours.shape == theirs.shape and np.allclose(ours, theirs, atol=1e-6)
        shared = embedders[one].info.fingerprint == embedders[other].info.fingerprint
        assert shared == alike, (one, other)
    assert embedders["plain"].info.fingerprint == PLAIN


def test_a_recorded_name_finds_the_same_embedder(embedders, folder):
    chosen = load_embedder(str(folder), "cpu", prompt_name="query")
    off = load_embedder(f"{folder}?prompt=", "cpu")
    for embedder in (*[embedders[name] for name in SETTINGS], chosen, off):
        assert load_embedder(embedder.name, "cpu").info == embedder.info
    assert chosen.info.prompt == "query: " and "prompt_name" not in chosen.name
    assert (off.info.prompt, off.info.fingerprint) == ("", PLAIN)
    odd = load_embedder("minilm", "cpu", prompt="50% of #1 & more+?: ")
    assert load_embedder(odd.name, "cpu").info == odd.info
    assert embedders["all of them"].name.endswith(
        "all-MiniLM-L6-v2?prompt=passage:%20&truncate_dim=100&max_tokens=8"
    )


def test_the_mean_pooled_part_keeps_the_prompt(folder, minilm):
    embedder = load_embedder(f"{folder}#mean?truncate_dim=30", "cpu")
    assert (embedder.info.prompt, embedder.dim) == ("passage: ", 30)
    parts = [*list(minilm.model)[:1], modules.Pooling(384, "mean")]
    whole = SentenceTransformer(modules=parts, device="cpu").encode("passage: a cat")
    np.testing.assert_allclose(embedder.encode(["a cat"])[0], whole[:30], atol=1e-5)


def test_only_plain_embedders_show_their_states(embedders):
    shown = {name for name, embedder in embedders.items() if embedder.has_states}
    assert shown == {"plain", "short", "long"}


def test_an_inverter_refuses_another_prompt(tiny, tmp_path):
    tiny.hypothesizer.save_pretrained(tmp_path / "plain", tiny.tokenizer)
    prompted = load_embedder("minilm", "cpu", prompt="passage: ")
    with pytest.raises(UserError, match=r"with prompt ''; .* has prompt 'passage: '"):
        load_inverter(tmp_path / "plain", embedder=prompted, device="cpu")
    generator = tiny.hypothesizer
    config = generator.config
    try:
        generator.config = dataclasses.replace(config, embedder=prompted.info)
        generator.save_pretrained(tmp_path / "prompted", tiny.tokenizer)
    finally:
        generator.config = config
    inverter = load_inverter(tmp_path / "prompted", device="cpu")
    assert inverter.embedder.info == prompted.info
    [found] = inverter.invert(prompted.encode(["a cat"]), rounds=1, beam=2)
    vector = prompted.encode([found.text])[0]
    assert found.cosine == pytest.approx(float(vector @ prompted.encode(["a cat"])[0]), abs=1e-4)
    with pytest.raises(UserError, match="with prompt 'passage: '"):
        load_inverter(tmp_path / "prompted", embedder="minilm", device="cpu")


@pytest.mark.parametrize(
    ("spec", "settings", "said"),
    [
        ("minilm?promt=x", {}, "no setting promt, only prompt, prompt_name"),
        ("minilm?truncate_dim=x", {}, "truncate_dim must be a whole number"),
        ("minilm", {"truncate_dim": 0}, "truncate_dim must be at least 1"),
        ("minilm", {"max_tokens": 513}, "takes 512 tokens at most, not 513"),
        ("minilm", {"prompt_name": "passage"}, "no prompt passage, only query, document"),
        ("minilm?prompt=a", {"prompt_name": "query"}, "not both"),
        ("minilm?prompt=a&prompt=b", {}, "set twice"),
        ("minilm?prompt=a#mean", {}, "before the ?"),
        ("openai:x@http://localhost/v1", {"max_tokens": 3}, "takes prompt and truncate_dim only"),
    ],
)
def test_settings_that_do_not_exist(spec, settings, said):
    with pytest.raises(UserError) as error:
        load_embedder(spec, "cpu", **settings)
    assert said in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["nobody/nothing", "nothing"])
def test_an_unknown_name_is_refused_soon_where_there_is_no_network(name, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    began = time.monotonic()
    with pytest.raises(UserError) as error:
        load_embedder(name, "cpu")
    assert time.monotonic() - began < 10
    assert str(error.value) == (
        f"embedder {name}: no folder of that name, and not found on the Hub: it cannot be reached"
    )
