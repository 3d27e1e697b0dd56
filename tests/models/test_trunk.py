"""Layers that start as an embedder's."""

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers import models as modules
from transformers import DistilBertConfig, DistilBertModel

from nanov2t.core.errors import UserError
from nanov2t.embedders.sentence import SentenceEmbedder
from nanov2t.models.trunk import MASKED, Cache, Trunk, attention_mask, trunk_config


@pytest.fixture(scope="module")
def trunk(minilm):
    trunk = Trunk(trunk_config(minilm))
    trunk.start_from(minilm)
    return trunk.eval()


@torch.inference_mode()
def test_it_starts_as_the_embedder(minilm, trunk, passages):
    texts = [passage[:n] for n, passage in zip((12, 60, 300), passages, strict=False)]
    expected, mask = minilm.states(texts)
    ids = minilm.tokenizer(texts, padding=True, return_tensors="pt")["input_ids"]
    made = trunk(trunk.embed(ids), attention_mask(mask, torch.float32))
    # Its GELU is the one by tanh.
    torch.testing.assert_close(made[mask], expected[mask], atol=1e-2, rtol=0)


@torch.inference_mode()
def test_kept_keys_and_values_stand_for_what_was_read(minilm, trunk, passages):
    ids = torch.tensor(minilm.tokenize(passages[:1]))[:, :9]
    seen = torch.ones(1, 9, 9).tril() > 0
    whole = trunk(trunk.embed(ids), attention_mask(seen, torch.float32))
    caches = [Cache() for _ in trunk.layers]
    steps = [trunk(trunk.embed(ids[:, i : i + 1], i), None, caches) for i in range(9)]
    torch.testing.assert_close(torch.cat(steps, 1), whole, atol=1e-4, rtol=0)
    caches[0].select(torch.tensor([0, 0]))
    key, _ = caches[0].kept
    assert len(key) == 2 and torch.equal(key[0], key[1])


@torch.inference_mode()
def test_a_beginning_that_is_kept_once_is_that_of_every_row(minilm, trunk, passages):
    ids = torch.tensor(minilm.tokenize(passages[:1]))[:, :9]
    repeated = trunk.begin(trunk.embed(ids[:, :5]))
    branches = [Cache(cache.kept) for cache in repeated]
    for cache in repeated:
        cache.select(torch.tensor([0, 0, 0]))
    rows, mask = ids[:, 5:8].repeat(3, 1), torch.ones(3, 3, 8).tril(5) > 0
    mask[1, :, 2] = False
    for t in (slice(0, 2), slice(2, 3)):  # several words, then one more
        added = attention_mask(mask[:, t, : 5 + t.stop], torch.float32)
        x = trunk.embed(rows[:, t], 5 + t.start)
        expected, made = trunk(x, added, repeated), trunk(x, added, branches)
        torch.testing.assert_close(made, expected, atol=1e-4, rtol=0)
    assert (made[0] - made[1]).abs().max() > 1e-2  # of which one does not see a word
    torch.testing.assert_close(branches[0].joined()[0], repeated[0].kept[0][:1])
    for cache in branches:
        cache.select(torch.tensor([1, 1]))
    made = trunk(trunk.embed(ids[:, 8:].repeat(2, 1), 8), None, branches)
    assert torch.equal(made[0], made[1])


def test_words_are_neither_trained_nor_saved(minilm, trunk):
    words = minilm.model[0].model.embeddings.word_embeddings.weight
    assert torch.equal(trunk.words, words)
    assert "words" not in trunk.state_dict() and not trunk.words.requires_grad
    assert all(parameter.shape != words.shape for parameter in trunk.parameters())


def test_masks_are_added_to_attention():
    mask = torch.tensor([[True, True, False]])
    assert attention_mask(mask, torch.bfloat16).tolist() == [
        [[[0, 0, pytest.approx(MASKED, 0.01)]]]
    ]
    square = torch.ones(2, 3, 3) > 0
    assert attention_mask(square, torch.float32).shape == (2, 1, 3, 3)


def test_only_a_bert_can_be_started_from(minilm, tmp_path):
    shape = {"dim": 32, "hidden_dim": 32, "n_layers": 1, "n_heads": 2}
    vocabulary = len(minilm.tokenizer)
    DistilBertModel(DistilBertConfig(vocab_size=vocabulary, **shape)).save_pretrained(tmp_path)
    minilm.tokenizer.save_pretrained(tmp_path)
    parts = [modules.Transformer(str(tmp_path)), modules.Pooling(32)]
    other = SentenceEmbedder(SentenceTransformer(modules=parts, device="cpu"), "other")
    with pytest.raises(UserError, match="other: not a BERT"):
        trunk_config(other)
