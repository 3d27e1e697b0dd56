"""Edits: scored, made, and made together."""

import random

import numpy as np
import pytest

from nanov2t.models.editor import (
    DictionaryEditor,
    Edit,
    Kind,
    NetworkEditor,
    ScoredDraft,
    apply,
    conflict,
)

REPLACE, INSERT, DELETE, MOVE = Kind
TOKENS = 8


@pytest.mark.parametrize(
    ("edits", "made"),
    [
        ([Edit(REPLACE, 1, 9)], [1, 9, 3]),
        ([Edit(INSERT, 0, 9)], [9, 1, 2, 3]),
        ([Edit(INSERT, 3, 9)], [1, 2, 3, 9]),
        ([Edit(DELETE, 2, 0)], [1, 2]),
        ([Edit(MOVE, 0, 3)], [2, 3, 1]),
        ([Edit(MOVE, 2, 0)], [3, 1, 2]),
        ([Edit(REPLACE, 0, 9), Edit(DELETE, 1, 0), Edit(INSERT, 2, 8)], [9, 8, 3]),
        ([Edit(MOVE, 0, 2), Edit(REPLACE, 1, 9), Edit(INSERT, 3, 8)], [9, 1, 3, 8]),
        ([], [1, 2, 3]),
    ],
)
def test_edits_are_made(edits, made):
    assert apply((1, 2, 3), edits) == made


@pytest.mark.parametrize(
    ("a", "b", "clash"),
    [
        (Edit(REPLACE, 1, 9), Edit(REPLACE, 1, 8), True),
        (Edit(REPLACE, 1, 9), Edit(REPLACE, 2, 9), False),
        (Edit(REPLACE, 1, 9), Edit(DELETE, 1, 0), True),
        (Edit(REPLACE, 1, 9), Edit(INSERT, 1, 9), False),
        (Edit(INSERT, 1, 9), Edit(INSERT, 1, 8), True),
        (Edit(INSERT, 1, 9), Edit(DELETE, 1, 0), False),
        (Edit(MOVE, 1, 3), Edit(REPLACE, 1, 9), True),
        (Edit(MOVE, 1, 3), Edit(INSERT, 3, 9), True),
        (Edit(MOVE, 1, 3), Edit(MOVE, 0, 3), True),
        (Edit(MOVE, 1, 3), Edit(DELETE, 3, 0), False),
        (Edit(MOVE, 1, 3), Edit(INSERT, 1, 9), False),
    ],
)
def test_edits_of_one_word_or_gap_conflict(a, b, clash):
    assert conflict(a, b) is conflict(b, a) is clash


@pytest.fixture(scope="module", params=["network", "dictionary"])
def editor(request, bundled, minilm):
    if request.param == "network":
        return NetworkEditor(bundled.corrector, bundled.dictionary, minilm)
    return DictionaryEditor(bundled.dictionary, minilm)


def spoiled(crop, kind, chance, frequent):
    """A crop that one edit of a kind sets right."""
    place = chance.randrange(TOKENS)
    rest = crop[:place] + crop[place + 1 :]
    if kind == INSERT:
        return rest
    if kind == REPLACE:
        return [*crop[:place], chance.choice(frequent), *crop[place + 1 :]]
    if kind == DELETE:
        return [*crop[:place], chance.choice(crop), *crop[place:]]
    other = (place + 4) % TOKENS
    return [*rest[:other], crop[place], *rest[other:]]


# Of 40 crops, the least that must be among the best edits: by the network, by the dictionary alone.
@pytest.mark.parametrize(
    ("kind", "best", "least"),
    [(REPLACE, 32, (34, 22)), (INSERT, 32, (24, 8)), (DELETE, 4, (34, 34)), (MOVE, 32, (10, 1))],
)
def test_the_right_edit_is_found(editor, minilm, crops, kind, best, least):
    chance, frequent = random.Random(1), [w for w in editor.frequent_words[:2000] if w > 1000]
    drafts = editor.decode([spoiled(crop, kind, chance, frequent) for crop in crops])
    scored = editor.score(list(minilm.encode(editor.decode(crops))), drafts, best)
    found = 0
    for crop, draft in zip(crops, scored, strict=True):
        assert len(draft.edits) == len(draft.odds) == best
        assert (np.diff(draft.odds) <= 0).all() and np.isfinite(draft.odds).all()
        found += crop in [apply(draft.ids, [edit]) for edit in draft.edits]
    assert found >= least[isinstance(editor, DictionaryEditor)]


def test_no_edit_leaves_the_draft_as_it_is(editor, minilm, crops):
    texts = editor.decode(crops[:10])
    for draft in editor.score(list(minilm.encode(texts[1:] + texts[:1])), texts, 300):
        made = [apply(draft.ids, [edit]) for edit in draft.edits if edit.kind != REPLACE]
        assert list(draft.ids) not in made
        places = len(draft.ids)
        for edit in draft.edits:
            assert 0 <= edit.place < places + (edit.kind == INSERT)
            assert edit.kind != MOVE or edit.word not in (edit.place, edit.place + 1)


def test_drafts_of_any_length(editor, minilm):
    drafts = ["", "word " * 200, "noon", "we met noon"]
    scored = editor.score(list(minilm.encode(["we met at noon"] * 4)), drafts, 64)
    assert {edit.kind for edit in scored[0].edits} == {INSERT}
    assert (scored[1].edits == []) is isinstance(editor, NetworkEditor)  # it reads 128 tokens
    assert DELETE not in {edit.kind for edit in scored[2].edits}  # a text is not empty
    assert scored[3].ids == tuple(minilm.tokenize(["we met noon"])[0][1:-1])


def draft(*scored):
    edits, odds = zip(*scored, strict=True)
    return ScoredDraft((1, 2, 3), list(edits), np.array(odds, np.float32))
