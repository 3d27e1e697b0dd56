import numpy as np
import pytest

from nanov2t.core.vectors import cosine
from nanov2t.evaluation import metrics


def test_token_f1_is_over_sets_of_treebank_words():
    # {the, cat, sat} against {the, dog, sat}: 2 of 3 each way; a repeated word counts once.
    assert metrics.token_f1(["the cat sat"], ["the dog sat"])[0] == pytest.approx(200 / 3)
    assert metrics.token_f1(["the the the"], ["the"])[0] == 100
    # Treebank splits "isn't" into is + n't and the full stop off: {is, n't, it, .} against {is,
    # it}.
    assert metrics.token_f1(["isn't it."], ["is it"])[0] == pytest.approx(200 * 2 / 6)
    assert metrics.token_f1([""], ["a"])[0] == 0
    assert metrics.token_f1([""], [""])[0] == 100


def test_bleu_per_sentence_with_effective_order():
    # Two words have no 3- or 4-grams: effective order leaves unigrams and bigrams.
    assert metrics.bleu(["hello world"], ["hello world"])[0] == pytest.approx(100)
    # "a b c d" against "a b c e": 3/4, 2/3, 1/2, and 0/1 smoothed to 1/2 (exp): the geometric mean.
    expected = 100 * (3 / 4 * 2 / 3 * 1 / 2 * 1 / 2) ** 0.25
    assert metrics.bleu(["a b c d"], ["a b c e"])[0] == pytest.approx(expected)


def test_exact_match_and_cosine():
    assert metrics.exact_match(["a", "b"], ["a", "B"]).tolist() == [100, 0]
    assert cosine(np.array([[3.0, 4.0]]), np.array([[4.0, 3.0]]))[0] == pytest.approx(24 / 25)
    assert cosine(np.full((1, 3), 1 / 3), np.full((1, 3), 7.0))[0] <= 1


def test_interval_covers_the_mean_and_narrows():
    values = np.random.default_rng(0).normal(50, 10, 1000)
    low, high = metrics.interval(values)
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * 10 / 1000**0.5, rel=0.1)
