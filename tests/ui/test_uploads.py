"""Files of visitors, without a browser."""

import re
from threading import Event

import numpy as np
import pytest

from nanov2t.core.errors import UserError


@pytest.fixture
def received(tmp_path, tiny):
    """Two files, as the server receives them: each in a folder of its own."""
    vectors = tiny.embedder.encode(["the old ferry", "salt and mules"])
    for name, arrays in {"one": {"a": vectors}, "two": {"a": vectors, "b": vectors[:1]}}.items():
        (tmp_path / name).mkdir()
        np.savez(tmp_path / name / f"{name}.npz", **arrays)
    return tmp_path


def files(folder):
    return sorted(path.name for path in folder.rglob("*.*"))


def test_a_visitors_file_is_deleted_and_the_same_file_of_another_stays(desk, received):
    for visitor in "ab":
        desk.keep(visitor, received / "two" / "two.npz")
    desk.forget("a")
    assert "2 vectors" in desk.look("b", "a")[0]
    desk.keep("b", received / "one" / "one.npz")
    assert "two.npz" not in files(received)
    desk.forget("b")
    desk.forget("b")
    assert files(received) == []


def test_what_a_file_holds_is_said_by_its_name_alone(desk, received):
    with pytest.raises(UserError, match="no file yet"):
        desk.look("a")
    desk.keep("a", received / "one" / "one.npz")
    remark, names, chosen = desk.look("a")
    assert chosen == "a" and names == ["a"]
    assert ">one.npz#a: 2 vectors, 384 dimensions, float32" in remark
    desk.keep("a", received / "two" / "two.npz")
    remark, names, chosen = desk.look("a")
    assert chosen is None and names == ["a", "b"]
    assert ">two.npz: which vectors? Choose one after a #: a, b<" in remark
    for name, first, line in [
        ("c", 0, "two.npz: no vectors c in it. Choose after a #: a, b"),
        ("b", 1, "two.npz#b: has no row 1, only 1 rows"),
        ("b", -1, "two.npz#b: has no row -1, only 1 rows"),
    ]:
        with pytest.raises(UserError, match=f"^{re.escape(line)}$"):
            next(desk.invert_rows("a", name, first, 5, "fast", Event()))


def test_a_stop_keeps_the_rows_that_are_done(desk, received, tiny):
    stop = Event()
    desk.keep("a", received / "one" / "one.npz")
    for shown in desk.invert_rows("a", None, 0, 5, "fast", stop):
        if "Row 2 of 2, round" in shown[0]:
            stop.set()
    status, rows, downloads = shown
    [found] = tiny.invert(tiny.embedder.encode(["the old ferry"]), rounds=2, beam=2)
    assert "Stopped. 1 rows are done" in status and rows.count("<tr>") == 2
    assert f"{found.cosine:.4f}" in rows and downloads.count("download=") == 2
