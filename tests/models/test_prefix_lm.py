"""The language model that writes first guesses."""

import copy

import pytest
import torch

from nanov2t.models.networks import load_network, save_network
from nanov2t.models.prefix_lm import CHOICES, PrefixLM, cover

TEXTS = ["my father repairs old clocks.", "the key is under the blue pot.", "we met at noon"]


@pytest.fixture(scope="module")
def model(bundled) -> PrefixLM:
    return bundled.hypothesizer


@pytest.fixture(scope="module")
def targets(minilm):
    return torch.from_numpy(minilm.encode(TEXTS))


@torch.inference_mode()
def greedily(model, target, limit):
    """The likeliest text word by word, each time from the whole text so far."""
    trunk, written = model.config.trunk, [model.config.trunk.cls]
    for step in range(limit):
        ids = torch.tensor([written])
        logits = cover(model.logits(model.hidden(target, ids)), model.guess(target), ids)[0, -1]
        if step == 0:
            logits[trunk.sep] = -torch.inf  # a text is not empty
        word = int(logits.argmax())
        if word == trunk.sep:
            break
        written.append(word)
    return written[1:]


@pytest.mark.parametrize("limit", [4, 12])
def test_a_single_beam_is_the_greedy_text(model, targets, limit):
    written = model.generate(targets, 1, limit)
    for target, [text] in zip(targets, written, strict=True):
        assert text == greedily(model, target[None], limit) and 0 < len(text) <= limit


def test_beams_are_likely_and_different(model, targets):
    [beams] = model.generate(targets[:1], 8, 16)
    assert len({tuple(text) for text in beams}) == 8
    worth = [
        (len(text) + 1) * model.log_probability(targets[:1], torch.tensor([text])).item()
        for text in beams
    ]
    assert worth[0] == max(worth)


def test_log_probability_is_that_of_each_word_in_turn(model, targets, minilm):
    ids = torch.tensor(minilm.tokenize([TEXTS[0]]))[:, 1:-1]
    trunk, guess = model.config.trunk, model.guess(targets[:1])
    total, written = 0.0, [trunk.cls]
    with torch.inference_mode():
        for word in [*ids[0].tolist(), trunk.sep]:
            states = model.hidden(targets[:1], torch.tensor([written]))
            left = guess.clone()
            left[0, written] = 0  # what was written is no longer missing
            logits = model.logits(states)[0, -1] + left[0]
            total += float(logits.log_softmax(-1)[word])
            written.append(word)
    own = model.log_probability(targets[:1], ids)
    assert own.item() == pytest.approx(total / (ids.shape[1] + 1), abs=1e-3)
    assert own > model.log_probability(targets[1:2], ids) + 1


def test_a_word_written_twice_is_covered_once():
    logits, guess = torch.zeros(1, 4, 6), torch.arange(6.0)[None]
    covered = cover(logits, guess, torch.tensor([[1, 4, 4, 2]]))[0]
    expected = guess.repeat(4, 1)
    expected[0:, 1] = expected[1:, 4] = expected[3:, 2] = 0
    assert torch.equal(covered, expected)


def test_special_tokens_are_not_guessed(model, targets, minilm):
    special = torch.tensor([minilm.tokenizer.cls_token_id, minilm.tokenizer.sep_token_id, 0])
    words = torch.cat([special, torch.tensor([2269, 5617])])
    with torch.inference_mode():
        every, chosen = model.guess(targets), model.guess(targets, words)
    assert (every[:, special] == 0).all()
    torch.testing.assert_close(chosen, every[:, words], atol=1e-4, rtol=1e-4)


def rewrite(model, target, text, kept, bonus=0.0, noise=None, steps=20):
    noise = torch.zeros(1, steps, CHOICES) if noise is None else noise
    [written] = model.rewrite(target, [text], [kept], [bonus], noise)
    return written


def test_rewriting_without_chance_is_writing(model, targets):
    [[greedy]] = model.generate(targets[:1], 1, 20)
    assert rewrite(model, targets[:1], greedy, 0) == greedy
    assert rewrite(model, targets[:1], greedy, 2) == greedy


def test_what_is_kept_is_kept_and_what_is_wanted_comes_again(model, targets, minilm):
    text = minilm.tokenize(["clocks old my father repairs."])[0][1:-1]
    noise = torch.randn(1, 20, CHOICES, generator=torch.Generator().manual_seed(0))
    assert rewrite(model, targets[:1], text, 2, noise=noise)[:2] == text[:2]
    ordered = rewrite(model, targets[:1], text, 0, bonus=30.0)
    assert sorted(ordered[: len(text)]) == sorted(text) and ordered != text
    assert len(rewrite(model, targets[:1], text, 0, steps=3)) <= 3


@pytest.mark.parametrize("int8", [False, True])
def test_save_and_load(model, bundled, minilm, targets, tmp_path, int8):
    save_network(model, tmp_path / "saved", int8=int8)
    loaded = load_network(tmp_path / "saved", minilm, bundled.dictionary)
    assert loaded.config == model.config and loaded.scale.shape == ()
    for name, weight in loaded.state_dict().items():
        theirs = model.state_dict()[name]
        assert (weight - theirs).norm() <= (0.02 * theirs.norm() if int8 else 0), name
    with torch.inference_mode():
        ours, theirs = (
            n.logits(n.hidden(targets, torch.tensor([[101]] * 3))).log_softmax(-1)
            for n in (loaded, model)
        )
    torch.testing.assert_close(ours, theirs, atol=0.5 if int8 else 0, rtol=0)


def test_it_can_be_trained(model, targets, minilm):
    """The weights have gradients, the words and entries that it borrows have none."""
    trained = copy.deepcopy(model).train()
    ids = torch.tensor(minilm.tokenize([TEXTS[0]]))
    logits = trained.logits(trained.hidden(targets[:1], ids[:, :-1]))
    torch.nn.functional.cross_entropy(logits[0], ids[0, 1:]).backward()
    without = {name for name, p in trained.named_parameters() if p.grad is None}
    assert all(name.startswith("lexical.") for name in without)
    assert trained.trunk.words.grad is None and trained.entries.grad is None
