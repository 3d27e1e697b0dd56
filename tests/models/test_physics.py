"""What a dictionary says of a draft and its target."""

import itertools
import random

import pytest
import torch

from nanov2t.models.dictionary import FEATURES, Physics
from nanov2t.models.editor import DictionaryEditor, apply

TOKENS = 8
BEST = 32


@pytest.fixture(scope="module")
def physics(bundled):
    dictionary, tokenizer = bundled.dictionary, bundled.embedder.tokenizer
    physics = Physics()
    physics.read(dictionary, tokenizer.all_special_ids, torch.float32)
    return physics


def look(physics, minilm, targets, drafts):
    """What physics finds of drafts of one length and the vectors of other texts."""
    vectors = torch.from_numpy(minilm.encode(minilm.tokenizer.batch_decode(targets)))
    texts = minilm.tokenizer.batch_decode(drafts)
    states, mask = minilm.states(texts)
    return physics(vectors, torch.tensor(minilm.tokenize(texts)), states, mask)


def test_a_word_that_was_replaced_is_found(bundled, minilm, crops):
    chance, frequent = random.Random(1), bundled.dictionary.words[:2000].tolist()
    drafts = []
    for crop in crops:
        place = chance.randrange(TOKENS)
        word = chance.choice([w for w in frequent if w > 1000 and w not in crop])
        drafts.append([*crop[:place], word, *crop[place + 1 :]])
    editor = DictionaryEditor(bundled.dictionary, minilm)
    texts = editor.decode(drafts)
    scored = editor.score(list(minilm.encode(editor.decode(crops))), texts, BEST)
    found = [
        crop in [apply(draft.ids, [edit]) for edit in draft.edits]
        for crop, draft in zip(crops, scored, strict=True)
    ]
    # Of some 200,000 edits; a guess at random would find none.
    assert len(found) == 40 and sum(found) >= 24


def test_a_right_draft_lacks_nothing(physics, minilm, crops):
    found = look(physics, minilm, crops, crops)
    assert found.residual.norm(dim=1).max() < 1e-2
    assert (found.precision - 1).abs().max() < 1e-4
    # Each place wants its own state: the word's average and what the context adds.
    own = (found.wanted - found.own).norm(dim=-1)
    other = (found.wanted - found.own.roll(1, 0)).norm(dim=-1)
    assert (own < other)[:, 1:-1].float().mean() > 0.95


def test_the_more_is_wrong_the_less_is_trusted(physics, minilm, crops):
    halves = [[*crop[:4], *other[4:]] for crop, other in itertools.pairwise(crops)]
    same = [
        i
        for i, text in enumerate(minilm.tokenizer.batch_decode(halves))
        if minilm.tokenize([text])[0][1:-1] == halves[i]
    ]
    right, half = [crops[i] for i in same], [halves[i] for i in same]
    other = [crops[i + 1] for i in same]
    trust = [look(physics, minilm, right, drafts).precision.mean() for drafts in (half, other)]
    assert 1 > trust[0] > trust[1] > 0


def test_special_tokens_are_never_found(physics, minilm, crops):
    special = set(minilm.tokenizer.all_special_ids)
    found = look(physics, minilm, crops, crops[1:] + crops[:1])
    assert not special & set(found.nearest.unique().tolist() + found.inserted.unique().tolist())
    assert found.features().shape == (40, TOKENS + 2, FEATURES)
    assert found.features().isfinite().all()


def test_padding_changes_nothing(physics, minilm, crops):
    texts = minilm.tokenizer.batch_decode(crops[:3])
    targets = torch.from_numpy(minilm.encode(texts[1:] + texts[:1]))
    alone = look(physics, minilm, crops[1:3] + crops[:1], crops[:3])
    states, mask = minilm.states([*texts, "a longer text " * 5])
    longest = states.shape[1]
    ids = torch.zeros(3, longest, dtype=torch.long)
    ids[:, : TOKENS + 2] = torch.tensor(minilm.tokenize(texts))
    padded = physics(targets, ids, states[:3], mask[:3])
    for name in ("wanted", "gains", "keep_gains", "deletion_gains"):
        ours, theirs = getattr(padded, name)[:, : TOKENS + 2], getattr(alone, name)
        torch.testing.assert_close(ours, theirs, atol=0.05, rtol=1e-3)
