import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console

from nanov2t.bulk import progress
from nanov2t.bulk.progress import RunProgress
from nanov2t.bulk.summary import BINS, SAMPLES, show_summary, summarise


def test_without_a_terminal_it_says_a_line_now_and_then(monkeypatch, capsys):
    monkeypatch.setattr(progress, "LOG_SECONDS", 0)
    with RunProgress(3000, finished=1000, shown=True) as shown:
        shown.row_done()
        shown.parts_done(2000)
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(" rows")[0] for line in lines] == [
        "nanov2t: 1,001 of 3,000",
        "nanov2t: 2,000 of 3,000",
    ]
    assert all(re.search(r"rows, [\d,.]+ a (second|minute), [-\d:]+ left$", line) for line in lines)


def test_rows_that_take_minutes_have_a_speed_and_an_end(monkeypatch, capsys):
    monkeypatch.setattr(progress, "LOG_SECONDS", 0)
    clock = [0.0]
    monkeypatch.setattr("rich.console.monotonic", lambda: clock[0])
    with RunProgress(100, finished=0, shown=True) as shown:
        for clock[0] in (100.0, 180.0, 220.0):
            shown.row_done()
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "nanov2t: 3 of 100 rows, 1.0 a minute, 1:37:00 left"


def test_only_one_process_says_anything(monkeypatch, capsys):
    monkeypatch.setattr(progress, "LOG_SECONDS", 0)
    with RunProgress(3000, finished=0, shown=False) as hidden:
        hidden.say("a line")
        hidden.parts_done(2000)
    said = capsys.readouterr()
    assert not said.err and not said.out


def test_the_summary_is_that_of_the_rows(tmp_path, capsys):
    cosines = [None, *np.linspace(-0.5, 1, 98), 1.0]
    rows = [
        {
            "id": i,
            "inverted": None if cosine is None else f"text [{i}]",
            "cosine": cosine,
            "stopped": "exact" if cosine == 1 else "rounds",
            "error": "zero" if cosine is None else None,
        }
        for i, cosine in enumerate(cosines)
    ]
    paths = [tmp_path / "part-0.parquet", tmp_path / "part-1.parquet"]
    pq.write_table(pa.Table.from_pylist(rows[:64]), paths[0])
    pq.write_table(pa.Table.from_pylist(rows[64:]), paths[1])
    summary = summarise(paths, len(rows))
    assert (summary.rows, summary.exact, summary.bad) == (100, 2, 1)
    assert summary.histogram.tolist() == np.histogram(cosines[1:], BINS)[0].tolist()
    assert [row["id"] for row in summary.samples] == list(range(0, 100, 100 // SAMPLES))
    show_summary(summary, Console())
    said = capsys.readouterr().out
    assert "100 rows: 2 exact (2.0 %), 1 with a bad vector" in said
    assert "0  0.0000  zero" in said and "text [90]" in said
