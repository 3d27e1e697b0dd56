"""The averages of an embedder's states: made, saved, read."""

import json

import pytest
import torch

from nanov2t.core.errors import UserError
from nanov2t.models.dictionary import Dictionary, study


@pytest.fixture(scope="module")
def batches(minilm, passages):
    """Ids and states of every passage's first and second twelve tokens, four at a time."""
    rows = [row for row in minilm.tokenize(passages) if len(row) > 26]
    crops = [[row[0], *row[i : i + 12], row[-1]] for row in rows for i in (1, 13)]
    texts = minilm.tokenizer.batch_decode(crops, skip_special_tokens=True)
    read = list(minilm.states_by_length(texts))
    ids, states = max(((ids, states) for _, ids, states in read), key=lambda pair: len(pair[0]))
    return list(zip(ids.split(4), states.split(4), strict=True))


@pytest.fixture(scope="module")
def dictionary(minilm, batches):
    words = minilm.model[0].model.get_input_embeddings().weight.detach()
    return study(minilm.info, words, batches)


def test_a_word_is_the_average_of_its_states(dictionary, batches, minilm):
    used = [batch for i, batch in enumerate(batches) if i % 8 != 7]
    [the] = minilm.tokenizer.convert_tokens_to_ids(["the"])
    states = torch.cat([states[ids == the] for ids, states in used]).float()
    assert len(states) > 20
    torch.testing.assert_close(dictionary.states[the], states.mean(0), atol=1e-4, rtol=0)
    seen = torch.cat([ids.flatten() for ids, _ in used])
    assert set(dictionary.words.tolist()) == set(seen.tolist())
    counts = torch.bincount(seen)[dictionary.words]
    assert (counts[:-1] >= counts[1:]).all()
    assert dictionary.log_frequency.exp().sum() == pytest.approx(1, abs=1e-3)


def test_whitening_evens_out_what_the_averages_leave(dictionary, batches):
    kept = [batch for i, batch in enumerate(batches) if i % 8 == 7]
    rest = [states.float() - dictionary.states[ids] for ids, states in kept]
    rest = [(r - r.mean(1, keepdim=True))[:, 1:-1].flatten(0, 1) for r in rest]
    white = torch.cat(rest) @ dictionary.whitening
    # Directions are shrunk, the smallest the most, so none may exceed one.
    variance = white.square().mean(0)
    assert variance.max() <= 1.001 and variance.max() > 0.8
    correlation = (white.T @ white / len(white)).fill_diagonal_(0)
    assert correlation.abs().max() < 1e-2


def test_words_that_were_hardly_seen_are_predicted(dictionary):
    unseen = torch.ones(len(dictionary.states), dtype=torch.bool)
    unseen[dictionary.words] = False
    assert unseen.any() and dictionary.states[unseen].norm(dim=1).min() > 0.1


def test_eight_batches_are_needed(minilm, batches):
    words = minilm.model[0].model.get_input_embeddings().weight.detach()
    with pytest.raises(UserError, match="too few texts"):
        study(minilm.info, words, batches[:7])


def test_save_and_load(dictionary, tmp_path):
    dictionary.save(tmp_path / "saved")
    loaded = Dictionary.load(tmp_path / "saved")
    assert loaded.embedder == dictionary.embedder
    assert torch.equal(loaded.words, dictionary.words)
    for name, share in (("states", 0.02), ("whitening", 1e-3), ("log_frequency", 1e-3)):
        ours, theirs = getattr(loaded, name), getattr(dictionary, name)
        assert ours.dtype == torch.float32 and (ours - theirs).norm() < share * theirs.norm()
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("truncate", "damaged dictionary"),
        ("weights", "dictionary.safetensors is missing"),
        ("config", "config.json is missing"),
        ("half", "damaged dictionary"),
        ("unknown", "damaged dictionary"),
        ("tensor", "damaged dictionary"),
    ],
)
def test_damaged_dictionaries_are_refused(dictionary, tmp_path, damage, said):
    folder = tmp_path / "saved"
    dictionary.save(folder)
    weights, config = folder / "dictionary.safetensors", folder / "config.json"
    if damage == "truncate":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif damage == "weights":
        weights.unlink()
    elif damage == "config":
        config.unlink()
    elif damage == "half":
        config.write_text(config.read_text()[:40])
    elif damage == "unknown":
        config.write_text(json.dumps(json.loads(config.read_text()) | {"colour": "red"}))
    else:
        content = weights.read_bytes()
        weights.write_bytes(content.replace(b'"whitening"', b'"whitewash"'))
    with pytest.raises(UserError, match=said):
        Dictionary.load(folder)
