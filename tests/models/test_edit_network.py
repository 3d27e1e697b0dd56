"""The network that edits: what it says of right and wrong drafts, and how it is stored."""

import json

import pytest
import torch

from nanov2t.core.errors import UserError
from nanov2t.load import load_inverter
from nanov2t.models.edit_network import KEEP, EditNetwork
from nanov2t.models.networks import kind_of, load_network, save_network


@pytest.fixture(scope="module")
def network(bundled) -> EditNetwork:
    return bundled.corrector


@torch.inference_mode()
def score(network, minilm, targets, drafts):
    vectors = torch.from_numpy(minilm.encode(targets))
    states, mask = minilm.states(drafts)
    ids = minilm.tokenizer(drafts, padding=True, return_tensors="pt")["input_ids"]
    return network(vectors, ids, states, torch.from_numpy(minilm.encode(drafts)), mask), ids, mask


def test_a_right_draft_is_kept(network, minilm, passages):
    texts = [" ".join(passage.split()[:6]) for passage in passages]
    edits, ids, mask = score(network, minilm, texts, texts)
    words = mask & (ids != network.config.trunk.cls) & (ids != network.config.trunk.sep)
    assert (edits.action.argmax(-1)[words] == KEEP).float().mean() > 0.95
    assert (edits.insertion.argmax(-1)[mask[:, 1:]] == 0).float().mean() > 0.95


def test_padding_changes_nothing(network, minilm):
    targets, drafts = ["the old ferry crossed the bay"] * 2, ["the old boat", "ferries " * 20]
    together, ids, mask = score(network, minilm, targets, drafts)
    alone, _, _ = score(network, minilm, targets[:1], drafts[:1])
    length = alone.action.shape[1]
    assert int(mask[0].sum()) == length < ids.shape[1]
    torch.testing.assert_close(together.action[:1, :length], alone.action, atol=0.05, rtol=0)


def test_chosen_words_have_the_logits_that_they_have_among_all(network, minilm):
    edits, _, _ = score(network, minilm, ["we met at noon"], ["we met noon"])
    rows, places, words = torch.tensor([0, 0]), torch.tensor([1, 2]), torch.tensor([2012, 5000])
    with torch.inference_mode():
        for logits in (network.replacements, network.insertions):
            every, chosen = logits(edits, rows, places), logits(edits, rows, places, words)
            assert every.shape == (2, network.config.trunk.vocabulary)
            torch.testing.assert_close(chosen, every[:, words], atol=1e-3, rtol=1e-4)


def test_a_new_one_keeps_the_draft(network, bundled, minilm):
    torch.manual_seed(0)
    fresh = EditNetwork(network.config).eval()
    fresh.bias.data.copy_(0.5 * bundled.dictionary.log_frequency)
    fresh.trunk.start_from(minilm)
    fresh.read_dictionary(bundled.dictionary)
    edits, _, mask = score(fresh, minilm, ["the cat sat"], ["a dog stood"])
    assert (edits.action.argmax(-1)[mask] == KEEP).all()
    assert torch.equal(fresh.bias, 0.5 * bundled.dictionary.log_frequency)


@pytest.mark.parametrize("int8", [False, True])
def test_save_and_load(network, bundled, minilm, tmp_path, int8):
    save_network(network, tmp_path / "saved", int8=int8)
    assert kind_of(tmp_path / "saved") == "edit_network"
    loaded = load_network(tmp_path / "saved", minilm, bundled.dictionary)
    assert loaded.config == network.config and not loaded.training
    for name, weight in loaded.state_dict().items():
        theirs = network.state_dict()[name]
        assert (weight - theirs).norm() <= (0.02 * theirs.norm() if int8 else 0), name
    size = (tmp_path / "saved" / "model.safetensors").stat().st_size
    assert size < (16 << 20) if int8 else size > (32 << 20)
    given = (["we met at noon"], ["we met noon"])
    ours, theirs = (score(n, minilm, *given)[0].action for n in (loaded, network))
    torch.testing.assert_close(ours, theirs, atol=0.5 if int8 else 0, rtol=0)


@pytest.fixture(scope="module")
def folder(bundled, tmp_path_factory):
    """A whole inverter to damage."""
    path = tmp_path_factory.mktemp("inverter")
    bundled.dictionary.save(path / "dictionary")
    save_network(bundled.corrector, path / "corrector", int8=True)
    return path


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("truncate", "corrector: damaged"),
        ("weights", "model.safetensors is missing"),
        ("kind", "corrector: not a network"),
        ("unknown", "corrector: damaged"),
        ("shape", "corrector: damaged: weight .* does not fit"),
        ("embedder", "fingerprint"),
    ],
)
def test_damaged_folders_are_refused(folder, minilm, damage, said):
    weights, config = folder / "corrector/model.safetensors", folder / "corrector/config.json"
    content, values = weights.read_bytes(), json.loads(config.read_text())
    if damage == "truncate":
        weights.write_bytes(content[:-100])
    elif damage == "weights":
        weights.unlink()
    elif damage == "shape":
        config.write_text(json.dumps(values | {"dim": 385}))
    else:
        change = {
            "kind": {"kind": "verse"},
            "unknown": {"colour": "red"},
            "embedder": {"embedder": values["embedder"] | {"fingerprint": "0123456789abcdef"}},
        }[damage]
        config.write_text(json.dumps(values | change))
    try:
        with pytest.raises(UserError, match=said):
            load_inverter(folder, embedder=minilm)
    finally:
        weights.write_bytes(content)
        config.write_text(json.dumps(values))
