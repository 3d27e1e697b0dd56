"""Known texts among the vectors of stores, and the proof that results are whole."""

from __future__ import annotations

import json
import shutil
import subprocess

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nanov2t import match
from nanov2t.bulk import PART_ROWS
from nanov2t.core.errors import UserError

ROWS = PART_ROWS + 200
WANTED = ["The harbour was closed for the night.", "Nobody wrote this.", "A lamp."]
PLACES = {3: WANTED[0], PART_ROWS + 7: WANTED[2], PART_ROWS + 9: WANTED[0]}


@pytest.fixture(scope="module")
def vectors(minilm):
    """Random vectors, with those of the wanted texts among them, and two bad rows."""
    found = np.random.default_rng(0).standard_normal((ROWS, minilm.dim)).astype(np.float32)
    found[[*PLACES]] = minilm.encode([*PLACES.values()])
    found[5], found[PART_ROWS + 8, 0] = 0, np.nan
    return found


def test_rows_that_hold_a_text_are_found_and_no_others(vectors, minilm):
    found = match(vectors, WANTED, minilm)
    assert [(m.row, m.text) for m in found] == [*PLACES.items()]
    assert all(m.exact and m.id == m.row and m.cosine > 1 - 1e-5 for m in found)


def test_rounded_vectors_are_exact_and_neighbours_only_near(vectors, minilm):
    rows = vectors[:8].copy()
    rows[6] = rows[3] + 0.3 * rows[2] / np.linalg.norm(rows[2])
    rounded = (127 * rows / np.abs(rows).max(1, keepdims=True, initial=1e-9)).round()
    assert [m.row for m in match(rounded, WANTED, minilm)] == [3]
    near = match(rows, WANTED, minilm, near=0.9)
    assert [(m.row, m.exact) for m in near] == [(3, True), (6, False)]
    assert near[1].cosine == pytest.approx(0.957, abs=0.02)
    assert [m.exact for m in match(rows, WANTED, minilm, tolerance=0.1)] == [True, True]


def test_what_cannot_be_compared_is_refused(vectors, minilm):
    with pytest.raises(UserError, match=r"shape \(1224, 9\): expected \[n, 384\]"):
        match(vectors[:, :9], WANTED, minilm)
    with pytest.raises(UserError, match="--near must lie between 0 and 1, not 2"):
        match(vectors, WANTED, minilm, near=2)
    silent = lambda texts: np.array([[float(text != WANTED[1])] * 384 for text in texts])  # noqa: E731
    with pytest.raises(UserError, match="text 2: its vector is zero"):
        match(vectors, WANTED, silent)


@pytest.fixture
def searched(vectors, command, tmp_path, monkeypatch):
    """A store on disk, candidates, and the folder of a match."""
    monkeypatch.chdir(tmp_path)
    keys = [f"k{i}" for i in range(ROWS)]
    pq.write_table(pa.table({"key": keys, "vector": vectors.tolist()}), "v.parquet")
    (tmp_path / "texts.txt").write_text("\n".join(WANTED))
    line = ("match", "v.parquet", "--texts", "texts.txt", "--ids", "key")
    return lambda *more: command(*line, *more)


def test_the_command_prints_and_writes_the_same_and_resumes(searched, tmp_path, command):
    code, out, err = searched()
    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and [(x["id"], x["row"], x["exact"]) for x in lines] == [
        (f"k{row}", row, True) for row in PLACES
    ]
    assert "found 2 of 3 texts in 3 of 1,224 rows, 2 of them with a bad vector" in err
    assert searched("--out", "found")[1] == out
    assert pq.read_table("found").to_pylist() == lines
    kept = {path.name: path.read_bytes() for path in (tmp_path / "found").iterdir()}
    (tmp_path / "found" / "part-00000001.parquet").unlink()
    assert searched("--out", "found")[:2] == (0, out)
    assert {path.name: path.read_bytes() for path in (tmp_path / "found").iterdir()} == kept
    code, _, err = searched("--out", "found", "--near", "0.9")
    assert code == 2 and "another near (None, not 0.9)" in err
    code, out, _ = command("check", "found")
    assert code == 0 and "whole and unaltered" in out and "embedder: sentence-tr" in out
    assert not subprocess.run(["sha256sum", "-c", "_SHA256SUMS"], cwd="found").returncode


def test_every_fault_of_a_folder_is_named(whole, command, tmp_path):
    out = shutil.copytree(whole, tmp_path / "out")
    assert command("check", out)[0] == 0
    changed = bytearray((out / "part-00000002.parquet").read_bytes())
    changed[100] ^= 1
    (out / "part-00000002.parquet").write_bytes(changed)
    pq.write_table(pq.read_table(out / "part-00000000.parquet")[:-1], out / "part-00000000.parquet")
    (out / "part-00000001.parquet").unlink()
    shutil.copy(out / "part-00000003.parquet", out / "part-00000009.parquet")
    code, _, err = command("check", out)
    assert code == 1 and err.splitlines() == [
        "nanov2t: part-00000000.parquet: altered",
        "nanov2t: part-00000001.parquet: missing",
        "nanov2t: part-00000002.parquet: altered",
        "nanov2t: part-00000009.parquet: added later",
        "nanov2t: part-00000000.parquet: 1023 rows, not 1024",
        "nanov2t: part-00000001.parquet: missing: rows 1024 to 2047",
    ]
    (out / "_SHA256SUMS").unlink()
    assert "_SHA256SUMS: missing: the run has not ended" in command("check", out)[2]


@pytest.mark.parametrize("settings", [b"{}", b"[1]", b'{"rows": 9, "part": 0}', b"\xff"])
def test_a_damaged_manifest_or_seal_is_named(whole, command, tmp_path, settings):
    out = shutil.copytree(whole, tmp_path / "out")
    (out / "_manifest.json").write_bytes(settings)
    code, _, err = command("check", out)
    altered, damaged = err.splitlines()
    assert code == 1 and altered == "nanov2t: _manifest.json: altered"
    assert damaged.startswith("nanov2t: _manifest.json: damaged: ")
    (out / "_SHA256SUMS").write_bytes(b"\xff\x00")
    assert command("check", out)[0] == 1


def test_what_is_no_output_is_refused(command, tmp_path):
    code, _, err = command("check", tmp_path)
    assert code == 2 and "holds neither _manifest.json nor report.json" in err
