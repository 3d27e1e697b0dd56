from __future__ import annotations

import pytest

from nanov2t.core.progress import progress
from nanov2t.evaluation.shared import watched
from nanov2t.search.options import Budget


def search(inverter, minilm, rounds, monkeypatch, beam=2):
    """What is expected of the time after each round, and what was found."""
    expected = []
    with progress("inverting", 2, shown=False) as tick:
        monkeypatch.setattr(tick, "expect", lambda seconds: expected.append((tick.done, seconds)))
        vectors = minilm.encode(["a lamp", "a door"])
        found = list(watched(inverter.with_options(rounds=rounds, beam=beam), vectors, tick))
        assert tick.done == len(found) == 2
    return expected, found


def test_a_vector_takes_at_most_what_all_its_rounds_take(tiny, minilm, monkeypatch):
    expected, found = search(tiny, minilm, 3, monkeypatch, beam=8)
    assert all(inversion.stopped == "rounds" for _, inversion in found)
    seconds = [round_.seconds for round_ in found[0][1].rounds]
    assert [done for done, _ in expected] == [0] * 8
    assert [most for _, most in expected[::2]] == pytest.approx(
        [4 * seconds[0], 2 * seconds[1], 4 / 3 * seconds[2], seconds[3]]
    )


def test_or_what_its_budget_allows(tiny, minilm, monkeypatch):
    inverter = tiny.with_options(budget=Budget(embeddings=16))
    expected, found = search(inverter, minilm, 1000, monkeypatch)
    first = found[0][1].rounds[0]
    assert expected[0][1] == pytest.approx(first.seconds * 16 / first.embedder_calls)
