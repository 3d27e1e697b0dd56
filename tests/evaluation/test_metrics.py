import random

import nltk
import numpy as np
import punkt
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


@pytest.fixture
def word_tokenize(tmp_path, monkeypatch):
    """nltk's own, its English model laid out as nltk.download would."""
    model, folder = punkt.load_model("english"), tmp_path / "tokenizers" / "punkt_tab" / "english"
    folder.mkdir(parents=True)
    tables = {
        "abbrev_types.txt": model.abbrev_types,
        "sent_starters.txt": model.sent_starters,
        "collocations.tab": map("\t".join, model.collocations),
        "ortho_context.tab": (f"{word}\t{flags}" for word, flags in model.ortho_context.items()),
    }
    for name, lines in tables.items():
        (folder / name).write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path)])
    nltk.tokenize._get_punkt_tokenizer.cache_clear()
    return nltk.word_tokenize


def test_token_f1_is_that_of_nltk(word_tokenize, passages):
    """On passages of several sentences, some words of which were replaced."""
    draw = random.Random(0)
    words = " ".join(passages).split()
    texts = [
        " ".join(draw.choice(words) if draw.random() < 0.3 else word for word in text.split())
        for text in passages
    ]
    expected = []
    for text, ref in zip(texts, passages, strict=True):
        ours, theirs = set(word_tokenize(text)), set(word_tokenize(ref))
        both = len(ours & theirs)
        precision, recall = both / len(ours), both / len(theirs)
        expected.append(100 * 2 * precision * recall / (precision + recall))
    assert metrics.token_f1(texts, passages) == pytest.approx(expected)
    whole = nltk.tokenize.TreebankWordTokenizer()
    assert any(set(whole.tokenize(text)) != set(word_tokenize(text)) for text in passages)


def test_full_stops_end_sentences_and_stay_with_abbreviations():
    # nltk.word_tokenize: He saw Dr. Li . | She left .
    assert metrics.token_f1(["He saw Dr. Li. She left."], ["He saw Dr. Li . She left ."])[0] == 100
    # {He, saw, Dr., Li, .} against {He, saw, Dr, Li, .}
    assert metrics.token_f1(["He saw Dr. Li."], ["He saw Dr Li."])[0] == pytest.approx(80)


def test_bleu_of_the_seed_has_no_effective_order():
    assert metrics.bleu(["to the lake"], ["to the lake"], effective=False)[0] == 0
    assert metrics.bleu(["to the lake"], ["to the lake"])[0] == pytest.approx(100)
    long = ["a b c d e f", "a b c d e g"], ["a b c d e f", "a b c d e f"]
    assert metrics.bleu(*long, effective=False) == pytest.approx(metrics.bleu(*long))


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


def test_words_in_the_same_order_are_common():
    assert metrics.word_diff("we met john in oslo", "met in oslo | paul") == [
        (False, "we", ""),
        (True, "met", "met"),
        (False, "john", ""),
        (True, "in oslo", "in oslo"),
        (False, "", "| paul"),
    ]
