"""Processes that are killed while they invert a store."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from pathlib import Path

import numpy as np
from bulk_store import Store, read
from processes import FORKS
from support import BAD, VECTORS

from nanov2t import bulk
from nanov2t.bulk import PART_ROWS, RunFolder
from nanov2t.inverter import Inverter


def work(store: Store, out: Path, rank: int, seconds: float = 0) -> None:
    """A process of a run, which saves its rows every so many seconds, and never rests after one."""
    os.environ["RANK"] = str(rank)
    bulk.SAVE_SECONDS = seconds
    store.invert(out)


def close(a, b) -> bool:
    """Whether tables are the same, but for rounding: rows were searched beside others."""
    a, b = a.to_pydict(), b.to_pydict()
    cosines = [np.array(table.pop("cosine"), float) for table in (a, b)]
    return a == b and np.allclose(*cosines, atol=1e-5, equal_nan=True)


def test_killed_processes_lose_nothing_and_others_take_over(store, whole, tmp_path):
    chance = random.Random(0)
    running = [FORKS.Process(target=work, args=(store, tmp_path, rank)) for rank in range(2)]
    for process in running:
        process.start()
    for kill in range(5):
        running[kill % 2].join(chance.uniform(1, 6))
        if running[kill % 2].is_alive():
            os.kill(running[kill % 2].pid, signal.SIGKILL)
            running[kill % 2].join()
        running[kill % 2] = FORKS.Process(target=work, args=(store, tmp_path, kill % 2))
        running[kill % 2].start()
    for process in running:
        process.join()
        assert process.exitcode == 0
    assert close(read(tmp_path), read(whole))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        path.name for path in whole.iterdir()
    )


def test_a_kill_in_mid_part_costs_only_what_was_not_saved(store, whole, tmp_path, monkeypatch):
    process = FORKS.Process(target=work, args=(store, tmp_path, 0))
    process.start()
    while not (saved := len(list(tmp_path.glob(".part-*.open")))):
        assert process.is_alive()
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert saved == 1
    parts = {path: path.stat().st_mtime_ns for path in tmp_path.glob("part-*")}
    folder = RunFolder(tmp_path, VECTORS, json.loads((tmp_path / "_manifest.json").read_text()))
    [part] = [p for p in folder.missing if folder.saved(p)]
    kept = folder.saved(part)
    assert 0 < len(kept) < PART_ROWS
    before = folder.finished_rows
    assert before == len(kept) + sum(len(folder.rows_of(p)) for p in folder.parts)
    bad = sum(row in folder.rows_of(p) for row in BAD for p in folder.missing)

    searched = []
    stream = Inverter.stream

    def count(self, vectors, *args, **settings):
        searched.append(len(vectors))
        return stream(self, vectors, *args, **settings)

    monkeypatch.setattr(Inverter, "stream", count)
    store.invert(tmp_path)
    assert sum(searched) == VECTORS - before - bad
    assert all(path.stat().st_mtime_ns == when for path, when in parts.items())
    table = read(tmp_path)
    assert close(table, read(whole))
    rows = table.slice(folder.rows_of(part).start, PART_ROWS).to_pylist()
    assert all(rows[place] | cells == rows[place] for place, cells in kept.items())
    assert not list(tmp_path.glob(".part-*"))


def test_saved_rows_that_cannot_be_read_are_done_again(store, tmp_path):
    store.invert(tmp_path, limit=10)
    whole = read(tmp_path)
    (tmp_path / "part-00000000.parquet").unlink()
    (tmp_path / ".part-00000000.open").write_bytes(b"PAR1 and no more")
    store.invert(tmp_path, limit=10)
    assert read(tmp_path).equals(whole)
    assert not list(tmp_path.glob(".part-*"))
