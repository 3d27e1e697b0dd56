"""The searches of visitors: equal to Python's, stopped on demand, kept apart."""

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import numpy as np
import pytest

from nanov2t.core.errors import UserError
from nanov2t.search.state import Inversion
from nanov2t.ui.desk import Desk


def test_rounds_as_they_end_and_the_inversion_last(desk, tiny):
    [vector] = tiny.embedder.encode(["the old ferry"])
    *rounds, found = desk.search(vector, "default", Event())
    [ours] = tiny.invert(vector[None], rounds=2, beam=2)
    assert (found.text, found.cosine) == (ours.text, ours.cosine)
    assert [r.text for r in rounds] == [r.text for r in ours.rounds]


def test_effort_and_budget_reach_the_search(tiny):
    vector = tiny.embedder.encode(["the old ferry"])[0]
    spent = [
        list(Desk(tiny.with_options(beam=8)).search(vector, effort, Event()))[-1]
        for effort in ("fast", "default")
    ]
    assert len(spent[0].rounds) < len(spent[1].rounds)


def test_a_stopped_search_ends_at_once_and_frees_the_inverter(tiny):
    desk = Desk(tiny.with_options(rounds=10_000))
    vector = tiny.embedder.encode(["the old ferry"])[0]
    with desk.visit("a") as stop:
        search = desk.search(vector, "default", stop)
        next(search)
        began = time.monotonic()
        desk.stop("b")  # who has no search
        assert not stop.is_set()
        desk.stop("a")
        rest = list(search)
    assert time.monotonic() - began < 1 and not any(isinstance(r, Inversion) for r in rest)
    with desk.visit("a") as stop:
        desk = Desk(tiny.with_options(rounds=0, beam=1))
        assert isinstance(list(desk.search(vector, "fast", stop))[-1], Inversion)


def test_a_visitor_who_leaves_ends_the_search(tiny):
    desk = Desk(tiny.with_options(rounds=10_000))
    with desk.visit("a") as stop:
        search = desk.search(tiny.embedder.encode(["the old ferry"])[0], "default", stop)
        next(search)
        search.close()
    with desk._busy:  # free again at the end of the round
        assert desk._stops == {}


def test_a_stop_while_another_searches_or_before_the_first_round(tiny):
    desk = Desk(tiny.with_options(rounds=10_000))
    task = desk.prepare("the old ferry")
    with desk.visit("a") as stop_first, desk.visit("b") as stop_second:
        first, second = (desk.attempt(*task, "default", stop) for stop in (stop_first, stop_second))
        next(first), next(first), next(second)
        desk.stop("b")
        [(status, table)] = second
        assert "Stopped." in status and table == ""
        assert not stop_first.is_set()
        desk.close()
        assert stop_first.is_set() and "Stopped." in list(first)[-1][0]


def test_searches_one_after_another_in_one_visit(desk, tiny):
    vector = tiny.embedder.encode(["the old ferry"])[0]
    with desk.visit("a") as stop:
        ends = [list(desk.search(vector, "fast", stop))[-1].text for _ in range(2)]
    assert ends[0] == ends[1]


def test_two_visitors_at_once_get_their_own(desk, tiny):
    vectors = tiny.embedder.encode(["the old ferry", "salt and mules"])
    with ThreadPoolExecutor(2) as pool:
        runs = [
            pool.submit(lambda i=i: list(desk.search(vectors[i], "default", Event())))
            for i in range(2)
        ]
    for run, found in zip(runs, tiny.invert(vectors, rounds=2, beam=2), strict=True):
        assert run.result()[-1].text == found.text
        assert [r.text for r in run.result()[:-1]] == [r.text for r in found.rounds]


def test_what_cannot_be_inverted_is_said(desk):
    with pytest.raises(UserError, match="vector 0 is zero"):
        list(desk.search(np.zeros(384, np.float32), "fast", Event()))
