"""Stores on the command line: their ids, and folders of results."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nanov2t.cli.searching import SearchArguments
from nanov2t.core.errors import UserError


@pytest.fixture(scope="module")
def folder(tiny, tmp_path_factory):
    path = tmp_path_factory.mktemp("inverter") / "tiny"
    tiny.corrector.save_pretrained(path, tiny.tokenizer, int8=True)
    return str(path)


def test_ids_are_in_lines_folders_and_terminals(command, folder, tmp_path, minilm, monkeypatch):
    vectors = minilm.encode(["a lamp", "a door", "a boat"])
    vectors[1] = 0
    rows = [{"key": f"k{i}", "vector": row} for i, row in enumerate(vectors.tolist())]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "v.parquet")
    options = ("--vectors", tmp_path / "v.parquet", "--inverter", folder, "--rounds", 0)
    for ids, said in (((), [0, 1, 2]), (("--ids", "key"), ["k0", "k1", "k2"])):
        lines = [json.loads(line) for line in command("invert", *options, *ids)[1].splitlines()]
        assert [line["id"] for line in lines] == said
        out = tmp_path / f"out{len(ids)}"
        assert command("invert", *options, *ids, "--out", out)[0] == 0
        assert pq.read_table(out)["id"].to_pylist() == said
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    shown = re.sub(
        r"\x1b\[[\d;?]*\w", "", command("invert", *options, "--ids", "key")[1]
    ).splitlines()
    assert [line for line in shown if line.startswith("id ")] == ["id k0", "id k1", "id k2"]
    assert shown[shown.index("id k1") + 1] == "zero"


def test_a_finished_folder_is_known_without_a_model(command, folder, tmp_path, minilm, monkeypatch):
    np.save(tmp_path / "v.npy", minilm.encode(["a lamp", "a door"]))
    inverter = shutil.copytree(folder, tmp_path / "inverter")
    out = tmp_path / "out"
    options = ("invert", "--vectors", tmp_path / "v.npy", "--out", out, "--inverter", inverter)
    first = command(*options, "--rounds", 0)
    assert first[0] == 0 and "2 rows" in first[1]

    def load(self, device=None):
        raise UserError("a model was loaded")

    monkeypatch.setattr(SearchArguments, "load", load)
    assert command(*options, "--rounds", 0)[:2] == first[:2]
    for more, said in (
        (("--rounds", 1), "another rounds (0, not 1)"),
        (("--rounds", 0, "--effort", "fast"), "another effort (default, not fast)"),
        (("--rounds", 0, "--limit", 1), "another rows (2, not 1)"),
        ((), "a model was loaded"),  # which alone knows its default
        (("--rounds", 0, "--embedder", "minilm"), "a model was loaded"),
    ):
        assert said in command(*options, *more)[2]
    (out / "part-00000000.parquet").rename(out / "part")
    assert "a model was loaded" in command(*options, "--rounds", 0)[2]
    (out / "part").rename(out / "part-00000000.parquet")
    os.utime(inverter / "model.safetensors")
    assert "a model was loaded" in command(*options, "--rounds", 0)[2]


def test_a_pipe_gets_lines_and_the_terminal_the_progress(
    command, folder, tmp_path, minilm, monkeypatch
):
    np.save(tmp_path / "v.npy", minilm.encode(["a lamp", "a door"]))
    options = ("invert", "--vectors", tmp_path / "v.npy", "--inverter", folder, "--rounds", 0)
    _, alone, said = command(*options)
    assert said == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    _, lines, said = command(*options)
    assert [json.loads(x)["inverted"] for x in lines.splitlines()] == [
        json.loads(x)["inverted"] for x in alone.splitlines()
    ]
    assert "inverting" in said and "2 of 2" in said
