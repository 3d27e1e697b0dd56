"""The searches of visitors: equal to Python's, stopped on demand, kept apart."""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from nanov2t.core.errors import UserError
from nanov2t.search.state import Inversion
from nanov2t.ui.desk import Desk


def test_rounds_as_they_end_and_the_inversion_last(desk, tiny):
    [vector] = tiny.embedder.encode(["the old ferry"])
    *rounds, found = desk.search("a", vector, "default")
    [ours] = tiny.invert(vector[None], rounds=2, beam=2)
    assert (found.text, found.cosine) == (ours.text, ours.cosine)
    assert [r.text for r in rounds] == [r.text for r in ours.rounds]


def test_effort_and_budget_reach_the_search(tiny):
    vector = tiny.embedder.encode(["the old ferry"])[0]
    spent = [
        list(Desk(tiny, beam=2).search("a", vector, effort))[-1] for effort in ("fast", "default")
    ]
    assert len(spent[0].rounds) < len(spent[1].rounds)


def test_a_stopped_search_ends_at_once_and_frees_the_inverter(tiny):
    desk = Desk(tiny, rounds=10_000)
    vector = tiny.embedder.encode(["the old ferry"])[0]
    search = desk.search("a", vector, "default")
    next(search)
    began = time.monotonic()
    desk.stop("b")  # who has no search
    desk.stop("a")
    rest = list(search)
    assert time.monotonic() - began < 1 and not any(isinstance(r, Inversion) for r in rest)
    assert isinstance(list(Desk(tiny, 0, 1).search("a", vector, "fast"))[-1], Inversion)


def test_a_visitor_who_leaves_ends_the_search(tiny):
    desk = Desk(tiny, rounds=10_000)
    search = desk.search("a", tiny.embedder.encode(["the old ferry"])[0], "default")
    next(search)
    search.close()
    with desk._busy:  # free again at the end of the round
        assert desk._stops == {}


def test_two_visitors_at_once_get_their_own(desk, tiny):
    vectors = tiny.embedder.encode(["the old ferry", "salt and mules"])
    with ThreadPoolExecutor(2) as pool:
        runs = [
            pool.submit(lambda i=i: list(desk.search(str(i), vectors[i], "default")))
            for i in range(2)
        ]
    for run, found in zip(runs, tiny.invert(vectors, rounds=2, beam=2), strict=True):
        assert run.result()[-1].text == found.text
        assert [r.text for r in run.result()[:-1]] == [r.text for r in found.rounds]


def test_what_cannot_be_inverted_is_said(desk):
    with pytest.raises(UserError, match="vector 0 is zero"):
        list(desk.search("a", np.zeros(384, np.float32), "fast"))
