"""What the page makes of a text, without a browser."""

import re
from threading import Event

import numpy as np
import pytest

from nanov2t.core.errors import UserError
from nanov2t.defences import DEFENCES, Setting, make_defence
from nanov2t.search.state import Round
from nanov2t.ui.desk import DRAW, SENTENCES, STRENGTHS, overlap, strip


def shown(desk, text, defence="none", strength=None):
    vector, seen, remark = desk.prepare(text, defence, strength)
    return vector, seen, list(desk.attempt(vector, seen, remark, "default", Event()))


def test_a_text_is_given_back_from_its_vector(desk, tiny):
    _, seen, states = shown(desk, "The old ferry")
    [found] = tiny.invert(tiny.embedder.encode(["the old ferry"]), rounds=2, beam=2)
    status, rounds = states[-1]
    assert f"Cosine {found.cosine:.6f}" in status and f"{found.embedder_calls} texts" in status
    assert seen == "the old ferry" and rounds.count("<tr>") >= 2
    assert len(states) == len(found.rounds) + 2 and "Searching" in states[0][0]


def test_a_defence_changes_the_vector_and_has_its_price(desk, tiny):
    plain, _, (*_, (open_, _)) = shown(desk, "The old ferry")
    noisy, _, (*_, (defended, _)) = shown(desk, "The old ferry", "noise", 0.1)
    assert not np.allclose(plain, noisy) and open_ != defended
    kept = [int(re.search(r"(\d+)%", desk.cost("noise", s))[1]) for s in (0, 0.02, 0.1)]
    assert kept[0] == 100 > kept[1] > kept[2]
    assert desk.cost("none", None) == ""
    for name, entry in DEFENCES.items():
        assert bool(entry.parameter) == (name in STRENGTHS)
        for strength in STRENGTHS[name](384) if entry.parameter else [None]:
            spec = f"{name}:{strength:g}" if strength else name
            assert f"{spec}: of the 10 nearest" in desk.cost(name, strength)


@pytest.mark.parametrize(
    ("text", "said"), [(" ", "the text is empty"), ("\u200b", "holds nothing that")]
)
def test_what_holds_no_text_is_refused(desk, text, said):
    with pytest.raises(UserError, match=said):
        desk.prepare(text)


def test_a_long_text_is_cut_and_that_is_said(desk):
    _, seen, states = shown(desk, "word " * 20)
    assert "Only the first 8 of 20 tokens" in states[0][0] and seen == "word " * 7 + "word"


def test_neighbours_survive_a_rotation_but_not_noise(minilm):
    vectors = minilm.encode(SENTENCES)
    setting = Setting(384, 0, vectors)
    assert overlap(vectors, lambda v: v) == 1
    assert overlap(vectors, make_defence("rotation", setting)) > 0.99
    assert overlap(vectors, make_defence("noise:1", setting)) < 0.3


def test_texts_stay_text():
    evil = "<img src=x onerror=alert(1)> &amp;"
    rounds = [Round(0, evil, 0.5, 1, 0.1), Round(1, evil + "!", 0.6, 2, 0.2)]
    for html in (DRAW.marked(evil, ""), DRAW.rounds(rounds, evil), DRAW.complaint(evil)):
        assert "<img" not in html and "&lt;img" in html and "&amp;amp;" in html


def test_right_words_are_marked_at_their_turn():
    html = DRAW.marked("the ferry was the old", "the old ferry")
    assert html.strip() == 'the ferry was <span class="nv-right">the old</span>'


def test_curves_and_strips_of_extremes():
    assert DRAW.curve([Round(0, "a", 0.5, 1, 0.1)]).strip() == ""
    exact = DRAW.curve([Round(i, "a", 1.0, 1, 0.1) for i in range(2)])
    assert "nan" not in exact and exact.count("1.0000") == 4
    assert "nan" not in strip(np.zeros(4, np.float32))
