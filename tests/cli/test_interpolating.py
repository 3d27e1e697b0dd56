"""Inversion of what lies between two vectors."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from rich.text import Text


@pytest.fixture
def interpolate(tiny, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    tiny.corrector.save_pretrained("tiny", tiny.tokenizer)

    def run(*args):
        more = ("--inverter", "tiny", "--rounds", "1", "--beam", "2")
        return command("interpolate", *args, *more)

    return run


def test_points_between_texts_and_between_their_vectors(interpolate, tiny):
    texts = ["the old ferry", "salt and mules"]
    code, out, _ = interpolate(*texts, "--steps", "3")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and [row["share"] for row in rows] == [0, 0.5, 1]
    ends = tiny.embedder.encode(texts)
    middle = ends.sum(0) / np.linalg.norm(ends.sum(0))
    for row, vector in zip(rows, [ends[0], middle, ends[1]], strict=True):
        [found] = tiny.invert(vector[None], rounds=1, beam=2)
        assert row["inverted"] == found.text
        assert row["cosine"] == pytest.approx(found.cosine, abs=1e-5)
        ours = tiny.embedder.encode([found.text])[0]
        assert row["cosine"] == pytest.approx(float(ours @ vector), abs=1e-5)
    np.save("ends.npy", ends)
    assert interpolate("--vectors", "ends.npy", "--steps", "3")[1] == out


def test_on_a_terminal_a_line_a_point(interpolate, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    code, out, _ = interpolate("the old ferry", "salt and mules", "--steps", "2")
    lines = Text.from_ansi(out).plain.splitlines()
    assert code == 0 and [line.split()[0] for line in lines] == ["0%", "100%"]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["one text"], "give either two texts or --vectors"),
        (["a", "b", "--steps", "1"], "--steps must be at least 2"),
        (["--vectors", "one.npy"], "holds one vector"),
        (["--vectors", "opposite.npy", "--steps", "3"], "vector 1 is zero"),
        (["a", "b", "--vectors", "one.npy"], "give either two texts or --vectors"),
    ],
)
def test_what_does_not_fit_is_one_line(interpolate, args, said):
    np.save("one.npy", np.eye(384, dtype=np.float32)[:1])
    np.save("opposite.npy", np.eye(384, dtype=np.float32)[[0, 0]] * [[1], [-1]])
    code, out, err = interpolate(*args)
    assert code == 2 and not out and said in err and err.count("\n") == 1
