"""Labels say the fewest edits that make the text of a draft."""

import numpy as np
import pytest
import torch

from nanov2t.models.edit_network import DELETE, KEEP, REPLACE
from nanov2t.models.editor import Edit, Kind, apply
from nanov2t.train.edit_loss import IGNORED, Drafts, following, labels_of, row_labels


def edits_of(labels):
    edits = [
        Edit(Kind.DELETE, place, 0) for place, act in enumerate(labels.actions) if act == DELETE
    ]
    edits += [Edit(Kind.REPLACE, place, word) for place, word in labels.replaced.items()]
    return edits + [Edit(Kind.INSERT, gap, word) for gap, word in labels.inserted.items()]


@pytest.mark.parametrize(
    ("draft", "text", "actions", "replaced", "inserted"),
    [
        ([1, 2, 3], [1, 2, 3], [KEEP] * 3, {}, {}),
        ([1, 9, 3], [1, 2, 3], [KEEP, REPLACE, KEEP], {1: 2}, {}),
        ([1, 9, 2, 3], [1, 2, 3], [KEEP, DELETE, KEEP, KEEP], {}, {}),
        ([1, 3], [1, 2, 3], [KEEP, KEEP], {}, {1: 2}),
        ([1], [0, 1, 2], [KEEP], {}, {0: 0, 1: 2}),
        ([], [7], [], {}, {0: 7}),
        ([7], [], [DELETE], {}, {}),
    ],
)
def test_what_to_do(draft, text, actions, replaced, inserted):
    found = row_labels(draft, text, text, np.random.default_rng(0))
    assert (found.actions, found.replaced, found.inserted) == (actions, replaced, inserted)


def test_edits_made_again_and_again_end_in_the_text():
    rng = np.random.default_rng(0)
    for _ in range(200):
        draft, text = (list(rng.integers(0, 6, rng.integers(0, 12))) for _ in range(2))
        rounds = 0
        while draft != text:
            draft = apply(draft, edits_of(row_labels(draft, text, text, rng)))
            rounds += 1
        assert rounds <= 12


def test_any_of_the_words_missing_in_a_gap_is_asked_for():
    rng, text = np.random.default_rng(0), [1, 2, 3, 5]
    found = {row_labels([1, 5], text, text, rng).inserted[1] for _ in range(50)}
    assert found == {2, 3}


@pytest.mark.parametrize(
    ("draft", "text", "pairs"),
    [
        ([1, 2], [1, 2], [(0, 1), (1, 2), (2, 3)]),
        ([2, 1], [1, 2], [(0, 2), (1, 3), (2, 1)]),
        ([2, 9, 1], [1, 7, 2], [(0, 3), (1, 4), (3, 1)]),  # 7 is missing, 9 too many
        ([5, 1, 5], [5, 1, 5], [(0, 1), (0, 3), (1, 2), (1, 4), (2, 1), (2, 3), (3, 2), (3, 4)]),
        ([9], [1], [(0, 2)]),
        ([], [1], [(0, 1)]),
    ],
)
def test_what_follows(draft, text, pairs):
    assert following(draft, text) == pairs


def test_a_guide_has_the_edits_and_the_text_the_order():
    rng = np.random.default_rng(0)
    found = row_labels([2, 9], [1, 2], [2, 1], rng)
    assert (found.actions, found.replaced, found.inserted) == ([KEEP, REPLACE], {1: 1}, {})
    assert found.order == [(0, 1), (1, 3)]


def test_labels_stand_where_the_network_looks():
    ids = torch.tensor([[101, 1, 9, 102], [101, 4, 102, 0]])
    drafts, texts = Drafts(ids, ids, ids, ids != 0), [[1, 2], [3, 4]]
    labels = labels_of(drafts, texts, texts, [np.random.default_rng(0)] * 2)
    nothing = IGNORED
    assert labels.actions.tolist() == [
        [nothing, KEEP, REPLACE, nothing],
        [nothing, KEEP, nothing, nothing],
    ]
    assert labels.gaps.tolist() == [[0, 0, 0], [1, 0, nothing]]
    assert labels.replaced.T.tolist() == [[0, 2, 2]]
    assert labels.inserted.T.tolist() == [[1, 0, 3]]
    assert labels.order.T.tolist() == [[0, 0, 1], [0, 1, 3], [1, 0, 1], [1, 1, 2]]
