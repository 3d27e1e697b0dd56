"""Evaluation over data sets of the seed's shape, alone and on two processes."""

from __future__ import annotations

import json
import sys

import datasets
import pyarrow.parquet as pq
import pytest
from processes import nanov2t, on_two

from nanov2t.cli import main as cli
from nanov2t.evaluation import shared

DRAFTS = {0: "the old ferry", 1: "unused, its row is blank", 2: "a key"}


@pytest.fixture
def folder(tiny, tmp_path, monkeypatch):
    """A folder with an inverter, a data set of which a row is blank, and drafts as the seed's
    stage 1 leaves them."""
    monkeypatch.chdir(tmp_path)
    tiny.corrector.save_pretrained("tiny", tiny.tokenizer)
    (tmp_path / "nq").mkdir()
    for split, texts in {
        "train": ["x"],
        "test": ["the old ferry", " ", "a blue pot", "we met at noon"],
    }.items():
        datasets.Dataset.from_dict({"text": texts}).to_parquet(tmp_path / "nq" / f"{split}.parquet")
    (tmp_path / "hyps").mkdir()
    write_drafts(tmp_path, DRAFTS | {3: "noon"})
    return tmp_path


def write_drafts(folder, drafts):
    lines = [json.dumps({"idx": i, "draft": draft}) for i, draft in drafts.items()]
    (folder / "hyps" / "test.hyps.jsonl").write_text("\n".join(lines) + "\n")


COMMAND = ["evaluate", "--texts", "nq", "--inverter", "tiny", "--rounds", "2", "--beam", "2"]


def evaluate(monkeypatch, capsys, *more):
    monkeypatch.setattr(sys, "argv", ["nanov2t", *COMMAND, *more])
    try:
        cli.main()
    except SystemExit as stop:
        assert stop.code == 2
    return capsys.readouterr()


def test_drafts_are_those_of_their_rows_and_results_are_written(folder, monkeypatch, capsys):
    (folder / "out").mkdir()
    (folder / "out" / "other.txt").write_text("stays")
    said = evaluate(monkeypatch, capsys, "--json", "--drafts", ".", "--out", "out")
    result = json.loads(said.out)
    lines = (folder / "out" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == result["rounds"]
    rows = pq.read_table(folder / "out" / "results.parquet").to_pylist()
    assert [row["idx"] for row in rows] == [0, 2, 3]
    assert [row["rounds"][0]["text"] for row in rows] == ["the old ferry", "a key", "noon"]
    assert [row["reference"] for row in rows] == ["the old ferry", "a blue pot", "we met at noon"]
    assert rows[0]["stopped"] == "exact"
    assert sum(row["embedder_calls"] for row in rows) == result["rounds"][-1]["embedder_calls"]
    for row in rows:
        assert row["inverted"] == row["rounds"][-1]["text"] == row["hypotheses"][0]["text"]
        assert row["seconds"] == row["rounds"][-1]["seconds"] > 0
        for one in row["rounds"]:
            cosines = [hypothesis["cosine"] for hypothesis in one["hypotheses"]]
            assert cosines == sorted(cosines, reverse=True) and cosines[0] == one["cosine"]
            assert one["hypotheses"][0]["text"] == one["text"] and len(cosines) <= 2
        assert row["stopped"] == "exact" or len(row["rounds"][-1]["hypotheses"]) == 2
    assert (folder / "out" / "other.txt").exists()


@pytest.mark.parametrize(
    ("drafts", "more", "said"),
    [
        (DRAFTS, (), "no draft for idx 3; 3 drafts, 4 rows"),
        (DRAFTS | {3: "x", 4: "y"}, (), "a draft for idx 4; 5 drafts, 4 rows"),
        (DRAFTS, ("--split", "train"), "hyps: a folder without train.hyps.jsonl"),
        (DRAFTS, ("--split", "third"), "hyps: a folder without third.hyps.jsonl"),
        (DRAFTS, ("--column", "body"), "nq: no column `body`, only text"),
    ],
)
def test_what_does_not_fit_is_one_line(folder, monkeypatch, capsys, drafts, more, said):
    write_drafts(folder, drafts)
    out, err = evaluate(monkeypatch, capsys, "--drafts", "hyps", *more)
    assert not out and said in err and err.count("\n") == 1


def in_parts(*args):
    shared.PART = 1
    nanov2t(*args)


def test_two_processes_print_the_figures_of_one(folder, monkeypatch, capsys):
    two = json.loads(on_two(folder, in_parts, *COMMAND, "--json"))
    monkeypatch.setattr(shared, "PART", 1)
    one = json.loads(evaluate(monkeypatch, capsys, "--json").out)
    for result in (one, two):
        assert result.pop("seconds_per_text") > 0
        assert all(row.pop("seconds") > 0 for row in result["rounds"])
    assert one == two
