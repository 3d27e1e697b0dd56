from __future__ import annotations

import io

import pytest
from rich.console import Console

from nanov2t.core import progress as module
from nanov2t.core.progress import progress


@pytest.fixture
def clock(monkeypatch):
    """The time, which the test sets."""
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_what_was_done_before_does_not_count_for_the_speed(clock, capsys):
    with progress("inverting", 10_100, before=10_000) as tick:
        clock[0] = 10.0
        tick()
        assert tick.state() == "10,001 of 10,100, 6.0 a minute, 0:16:30 left"
        clock[0] = 70.0  # nothing for a minute
        assert tick.state() == "10,001 of 10,100, 6.0 a minute, 0:15:30 left"
        tick(99)
        assert tick.state() == "10,100 of 10,100, 1.4 a second, 0:00:00 left"
    assert capsys.readouterr().err == (
        "nanov2t: inverting: 10,100 of 10,100, 1.4 a second, 0:00:00 left\n"
    )


def test_an_estimate_before_anything_is_done(clock):
    with progress("inverting", 100, before=40) as tick:
        assert tick.state() == "40 of 100"
        tick.expect(90)
        assert tick.state() == "40 of 100, at most 1:30:00 left"
        clock[0] = 30.0
        tick()
        assert tick.state() == "41 of 100, 2.0 a minute, 0:29:30 left"


def test_a_line_a_minute_without_a_terminal(clock, capsys):
    with progress("inverting", 300_000) as tick:
        for clock[0] in (59.0, 60.0, 119.0, 121.0):
            tick()
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "nanov2t: inverting: 2 of 300,000, 2.0 a minute, 104 days, 3:59:00 left",
        "nanov2t: inverting: 4 of 300,000, 2.0 a minute, 105 days, 0:47:59 left",
    ]


def test_only_one_process_says_anything(clock, capsys):
    with progress("inverting", 3, shown=False) as tick:
        tick.say("a line")
        clock[0] = 100.0
        tick(2)
    said = capsys.readouterr()
    assert not said.err and not said.out


def test_a_bar_on_a_terminal(monkeypatch):
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=80)
    monkeypatch.setattr(module, "terminal", lambda: console)
    with progress("inverting", 4, before=1) as tick:
        tick.say("a line")
        tick(2)
    said = screen.getvalue()
    assert "nanov2t: a line\n" in said and "3 of 4" in said and "━" in said
    assert said.count("nanov2t: ") == 1
