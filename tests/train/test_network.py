"""Sums over sampled words are, on average, those over all words."""

import numpy as np
import pytest
import torch

from nanov2t.models.dictionary import Dictionary
from nanov2t.train import network
from nanov2t.train.network import CandidateSampler

VOCABULARY, SPECIAL = 400, [0, 1, 2]


@pytest.fixture
def dictionary(minilm, monkeypatch):
    monkeypatch.setattr(network, "ALWAYS", 20)
    monkeypatch.setattr(network, "RARER", VOCABULARY)
    monkeypatch.setattr(network, "DRAWN", 60)
    log_frequency = -torch.arange(1.0, VOCABULARY + 1).log()
    log_frequency -= log_frequency.logsumexp(0)
    states = torch.zeros(VOCABULARY, 4)
    return Dictionary(minilm.info, states, torch.eye(4), torch.arange(VOCABULARY), log_frequency)


def test_sums_are_right_on_average(dictionary):
    torch.manual_seed(0)
    sampler = CandidateSampler(dictionary, SPECIAL, torch.device("cpu"))
    logits, rng = torch.randn(VOCABULARY), np.random.default_rng(0)
    frequency = dictionary.log_frequency.exp()
    corrected, drawn, plain = [], [], []
    for _ in range(1500):
        texts = torch.multinomial(frequency, 30, replacement=True)
        candidates = sampler.draw(texts, rng)
        chosen = logits[candidates.words]
        corrected.append((chosen + candidates.correction).exp().sum())
        drawn.append((chosen + candidates.stand_in).exp().sum())
        plain.append(chosen.exp().sum())
    whole = float(logits.exp().sum())
    assert np.mean(corrected) == pytest.approx(whole, rel=0.02)
    assert np.mean(drawn) == pytest.approx(whole, rel=0.1)
    assert np.mean(plain) < 0.7 * whole


def test_all_words_of_the_texts_are_there_and_found(dictionary):
    sampler = CandidateSampler(dictionary, SPECIAL, torch.device("cpu"))
    texts = torch.tensor([[399, 7], [250, 1]])
    candidates = sampler.draw(texts.flatten(), np.random.default_rng(0))
    assert torch.equal(candidates.words[candidates.places(texts)], texts)
    assert set(SPECIAL) <= set(candidates.words.tolist())
    assert (candidates.correction >= 0).all() and (candidates.correction[:20] == 0).all()


def test_every_word_needs_no_correction(dictionary):
    every = CandidateSampler(dictionary, SPECIAL, torch.device("cpu")).every_word()
    assert len(every.words) == VOCABULARY and not every.correction.any()


def test_a_dictionary_of_few_words(dictionary):
    dictionary.words = dictionary.words[:10]
    sampler = CandidateSampler(dictionary, SPECIAL, torch.device("cpu"))
    candidates = sampler.draw(torch.tensor([5, 300]), np.random.default_rng(0))
    assert candidates.words.tolist() == [*range(10), 300]
    assert candidates.correction[:10].abs().max() == 0
