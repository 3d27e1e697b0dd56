"""What the page makes of a text, without a browser."""

import re
from threading import Event

import numpy as np
import pytest

from nanov2t.core.errors import UserError
from nanov2t.defences import DEFENCES, Setting, make_defence
from nanov2t.search.state import Round
from nanov2t.ui.attempt import SENTENCES, STRENGTHS, Attempt, overlap
from nanov2t.ui.drawing import complaint, curve, marked, rounds_drawn, strip


@pytest.fixture
def attempt(desk):
    return Attempt(desk)


def shown(attempt, text, defence="none", strength=None):
    task = attempt.prepare(text, defence, strength)
    return task, list(attempt.run(task, "default", Event()))


def test_a_text_is_given_back_from_its_vector(attempt, tiny):
    task, states = shown(attempt, "The old ferry")
    [found] = tiny.invert(tiny.embedder.encode(["the old ferry"]), rounds=2, beam=2)
    status, rounds = states[-1]
    assert f"Cosine {found.cosine:.6f}" in status and f"{found.embedder_calls} texts" in status
    assert task.seen == "the old ferry" and rounds.count("<tr>") >= 2
    assert len(states) == len(found.rounds) + 2 and "Searching" in states[0][0]


def test_a_defence_changes_the_vector_and_has_its_price(attempt, tiny):
    plain, (*_, (open_, _)) = shown(attempt, "The old ferry")
    noisy, (*_, (defended, _)) = shown(attempt, "The old ferry", "noise", 0.1)
    assert not np.allclose(plain.vector, noisy.vector) and open_ != defended
    kept = [int(re.search(r"(\d+)%", attempt.cost("noise", s))[1]) for s in (0, 0.02, 0.1)]
    assert kept[0] == 100 > kept[1] > kept[2]
    assert attempt.cost("none", None) == ""
    assert STRENGTHS.keys() == DEFENCES.keys()
    for name, strengths in STRENGTHS.items():
        for strength in strengths(384) or [None]:
            spec = f"{name}:{strength:g}" if strength else name
            assert f"{spec}: of the 10 nearest" in attempt.cost(name, strength)


@pytest.mark.parametrize(
    ("text", "said"), [(" ", "the text is empty"), ("\u200b", "holds nothing that")]
)
def test_what_holds_no_text_is_refused(attempt, text, said):
    with pytest.raises(UserError, match=said):
        attempt.prepare(text)


def test_a_long_text_is_cut_and_that_is_said(attempt):
    task, states = shown(attempt, "word " * 20)
    assert "Only the first 8 of 20 tokens" in states[0][0] and task.seen == "word " * 7 + "word"


def test_neighbours_survive_a_rotation_but_not_noise(minilm):
    vectors = minilm.encode(SENTENCES)
    setting = Setting(384, 0, vectors)
    assert overlap(vectors, lambda v: v) == 1
    assert overlap(vectors, make_defence("rotation", setting)) > 0.99
    assert overlap(vectors, make_defence("noise:1", setting)) < 0.3


def test_texts_stay_text():
    evil = "<img src=x onerror=alert(1)> &amp;"
    rounds = [Round(0, evil, 0.5, 1, 0.1), Round(1, evil + "!", 0.6, 2, 0.2)]
    for html in (marked(evil, ""), rounds_drawn(rounds, evil), complaint(evil)):
        assert "<img" not in html and "&lt;img" in html and "&amp;amp;" in html


def test_right_words_are_marked_at_their_turn():
    html = marked("the ferry was the old", "the old ferry")
    assert html == 'the ferry was <span class="nv-right">the old</span>'


def test_curves_and_strips_of_extremes():
    assert curve([Round(0, "a", 0.5, 1, 0.1)]) == ""
    exact = [Round(i, "a", 1.0, 1, 0.1) for i in range(2)]
    assert "nan" not in curve(exact) and curve(exact).count("1.0000") == 4
    assert "nan" not in strip(np.zeros(4, np.float32))
