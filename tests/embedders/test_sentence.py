"""What a Sentence Transformers model shows of its inside."""

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers import models as modules
from torch import nn

from nanov2t.embedders.sentence import SentenceEmbedder

TEXTS = ["a cat", "The old ferry left the harbour at dawn, and nobody waved.", "", "river"]


def pooled(minilm, *more, mode="mean"):
    """MiniLM's transformer with other modules behind it."""
    parts = [minilm.model[0], modules.Pooling(384, mode), *more]
    return SentenceEmbedder(SentenceTransformer(modules=parts, device="cpu"), "a variant")


def dense():
    torch.manual_seed(0)
    return modules.Dense(384, 20, bias=True, activation_function=nn.Tanh())


@pytest.mark.parametrize("behind", ["as it is", "mean", "dense", "dense and normalize"])
def test_the_mean_of_the_states_gives_the_vector(minilm, behind):
    embedder = {
        "as it is": lambda: minilm,
        "mean": lambda: pooled(minilm),
        "dense": lambda: pooled(minilm, dense()),
        "dense and normalize": lambda: pooled(minilm, dense(), modules.Normalize()),
    }[behind]()
    assert embedder.has_states
    states, mask = embedder.states(TEXTS)
    assert states.dtype == torch.float32 and mask.dtype == torch.bool
    assert states.shape[:2] == mask.shape and states.shape[2] == 384
    mean = (states * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
    np.testing.assert_allclose(embedder.of_mean(mean), embedder.encode(TEXTS), atol=1e-5)
    if behind == "as it is":
        unit = nn.functional.normalize(mean, dim=1)
        np.testing.assert_allclose(unit, embedder.encode(TEXTS), atol=1e-5)


def test_long_texts_and_many_of_them(minilm):
    texts = [f"word {i} " * (200 if i == 69 else 1 + i % 5) for i in range(70)]
    states, mask = minilm.states(texts)
    assert mask.shape == (70, minilm.max_tokens)
    mean = (states * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
    np.testing.assert_allclose(minilm.of_mean(mean), minilm.encode(texts), atol=1e-5)


def test_other_pooling_has_no_states(minilm):
    assert not pooled(minilm, mode="cls").has_states


def test_vectors_of_rough_states_are_near_the_exact_ones(minilm, passages):
    texts = [*TEXTS, *passages, *(passage[:20] for passage in passages)]
    exact = minilm.encode(texts)
    for places, _, states in minilm.states_by_length(texts):
        rough = minilm.of_mean(states.float().mean(1)).cpu().numpy()
        cosines = (rough * exact[places]).sum(1) / np.linalg.norm(rough, axis=1)
        assert cosines.min() > 1 - 2e-3


def test_states_by_length_are_the_states(minilm):
    texts = [*TEXTS, "lake", "a dog"]
    expected, _ = minilm.states(texts)
    seen = []
    for places, ids, states in minilm.states_by_length(texts):
        seen += places
        for place, row, own in zip(places, ids, states, strict=True):
            assert row.tolist() == minilm.tokenize([texts[place]])[0]
            near = nn.functional.cosine_similarity(own.float(), expected[place, : len(row)])
            assert near.min() > 0.99
    assert sorted(seen) == list(range(len(texts)))
