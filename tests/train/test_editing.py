"""Texts with errors, as the edit network learns from them."""

import numpy as np
import pytest

from nanov2t.train.edit_loss import row_labels
from nanov2t.train.editing import KINDS, Corruption


@pytest.fixture(scope="module")
def corruption(studied, embedder):
    return Corruption(studied.dictionary, embedder.tokenizer.all_special_ids)


def edits(draft, text):
    labels = row_labels(draft, text, text, np.random.default_rng(0))
    return sum(action > 0 for action in labels.actions) + len(labels.inserted)


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_is_small(corruption, kind):
    rng = np.random.default_rng(0)
    text = corruption.words[:12].tolist()
    drafts = [corruption.err(text, kind, rng) for _ in range(100)]
    most = {"swap": 2, "move": 8}.get(kind, 1)
    assert all(edits(draft, text) <= most for draft in drafts)
    assert np.mean([draft != text for draft in drafts]) > 0.7
    grown = {"insert": 1, "delete": -1}.get(kind, 0)
    assert all(len(draft) == len(text) + grown for draft in drafts)
    if kind in ("swap", "move"):
        assert all(sorted(draft) == sorted(text) for draft in drafts)


def test_most_drafts_have_few_errors_and_some_have_many(corruption):
    text = corruption.words[:16].tolist()
    drafts = [corruption.draft(text, np.random.default_rng(i)) for i in range(400)]
    wrong = np.array([edits(draft, text) for draft in drafts])
    assert 0.4 < (wrong <= 2).mean() < 0.85 and 0.01 < (wrong >= 8).mean() < 0.4
    assert drafts[:5] == [corruption.draft(text, np.random.default_rng(i)) for i in range(5)]


def test_half_of_the_texts_have_another_order(corruption):
    text = corruption.words[:12].tolist()
    orders = [corruption.reordered(text, np.random.default_rng(i)) for i in range(400)]
    assert all(sorted(order) == sorted(text) for order in orders)
    assert 0.35 < np.mean([order != text for order in orders]) < 0.55
    assert orders[:5] == [corruption.reordered(text, np.random.default_rng(i)) for i in range(5)]


@pytest.mark.parametrize("text", [[], [2023]])
def test_the_shortest_texts(corruption, text):
    rng = np.random.default_rng(0)
    assert corruption.reordered(text, rng) == text
    for kind in KINDS:
        assert all(isinstance(word, int) for word in corruption.err(text, kind, rng))


def test_neighbours_are_nearer_than_chance(corruption, studied):
    dictionary = studied.dictionary
    entries = dictionary.states @ dictionary.whitening
    words = corruption.words[:50]

    def distance(a, b):
        return float((entries[a] - entries[b]).norm())

    for word in words:
        near = corruption.neighbours[int(word)]
        assert word not in near
        far = np.mean([distance(word, other) for other in corruption.words[:300]])
        assert np.mean([distance(word, other) for other in near]) < far
