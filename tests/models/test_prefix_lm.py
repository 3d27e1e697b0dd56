"""The language model that writes first guesses."""

import copy

import pytest
import torch

from nanov2t.models.networks import load_network, save_network
from nanov2t.models.prefix_lm import PrefixLM, cover
from nanov2t.models.reading import Reading

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
    for target in targets:
        [text] = model.generate(target, 1, limit)
        assert text == greedily(model, target[None], limit) and 0 < len(text) <= limit


def test_beams_are_likely_and_different(model, targets):
    beams = model.generate(targets[0], 8, 16)
    assert len({tuple(text) for text in beams}) == 8
    reading = Reading(model, targets[0])
    worth = [float(reading.read([text])[0].chosen.sum()) for text in beams]
    assert worth[0] == max(worth)


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
