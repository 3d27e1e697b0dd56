import importlib.metadata
import json
import os
import subprocess
import sys
import time
from typing import get_args, get_type_hints

import numpy as np
import pyarrow.parquet as pq
import pytest

import nanov2t
from nanov2t.cli.main import COMMANDS
from nanov2t.cli.searching import SearchArguments
from nanov2t.pretrained import RELEASES
from nanov2t.search.evolution import EFFORTS, SEARCHES
from nanov2t.search.options import EXHAUSTIVE_ROUNDS, ROUNDS
from nanov2t.t5 import checkpoints as published
from nanov2t.t5 import inference


@pytest.fixture(scope="module")
def folder(tiny, tmp_path_factory):
    path = tmp_path_factory.mktemp("inverter") / "tiny"
    tiny.corrector.save_pretrained(path, tiny.tokenizer, int8=True)
    return str(path)


def test_help_is_instant_and_free_of_torch():
    began = time.monotonic()
    command = [sys.executable, "-X", "importtime", "-m", "nanov2t", "--help"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and "evaluate" in done.stdout
    assert " torch" not in done.stderr
    assert time.monotonic() - began < 5


def test_the_version_is_said(command):
    version = importlib.metadata.version("nanov2t")
    assert command("--version") == (0, f"nanov2t {version}\n", "")
    assert nanov2t.__version__ == version


def test_help_shows_what_a_person_can_read(command):
    for name in COMMANDS:
        said = command(name, "--help")[1]
        assert "{None}" not in said and "[[" not in said and " STR" not in said, name
    assert "[-h] RUN_DIR OUT_DIR" in command("export", "--help")[1]
    assert "--vectors SOURCE" in command("invert", "--help")[1]


def test_the_command_line_knows_what_it_does_not_import():
    assert set(RELEASES) == set(published.RELEASES)
    searches = get_args(get_type_hints(SearchArguments)["search"])
    assert set(searches) == {"default", *SEARCHES, *inference.SEARCHES}


def test_invert_prints_a_json_object_a_line(command, folder):
    code, out, _ = command(
        "invert", "Hello World", "a second text", "--inverter", folder, "--rounds", 1, "--beam", 2
    )
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and [row["text"] for row in rows] == ["Hello World", "a second text"]
    for row in rows:
        facts = ["inverted", "cosine", "stopped", "embedder_calls", "unseen_tokens"]
        assert list(row) == ["text", *facts, "rounds"] and row["unseen_tokens"] == 0
        assert [list(r) for r in row["rounds"]] == [["round", "text", "cosine"]] * 2
        assert row["stopped"] == "rounds" and row["inverted"] == row["rounds"][-1]["text"]


def test_a_text_and_its_vector_give_the_same(command, folder, tmp_path, minilm):
    np.save(tmp_path / "v.npy", minilm.encode(["hello world"]))
    options = ("--inverter", folder, "--rounds", 1, "--beam", 2)
    [by_text], [by_vector] = (
        command("invert", *what, *options)[1].splitlines()
        for what in (("hello world",), ("--vectors", tmp_path / "v.npy"))
    )
    assert json.loads(by_vector)["text"] is None
    assert json.loads(by_vector)["rounds"] == json.loads(by_text)["rounds"]


def test_standard_input(folder):
    options = ["--inverter", folder, "--rounds", "0", "--beam", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "nanov2t", "invert", "-", *options],
        input="one\ntwo\n",
        capture_output=True,
        text=True,
        env=os.environ,
    )
    assert [json.loads(line)["text"] for line in done.stdout.splitlines()] == ["one", "two"]


def test_long_texts_are_cut_and_said(command, folder):
    code, out, err = command(
        "invert", "word " * 40, "--inverter", folder, "--rounds", 0, "--beam", 1
    )
    assert (
        code == 0
        and json.loads(out)
        and err == "nanov2t: text 1 has 40 tokens; only the first 8 are inverted\n"
    )


def test_evaluate(command, folder, tmp_path):
    (tmp_path / "texts.txt").write_text("The old ferry.\nAnother text.\nunused\n")
    (tmp_path / "drafts.jsonl").write_text(
        '{"idx": 1, "draft": "another text."}\n{"idx": 0, "draft": "the"}\n'
    )
    options = ("evaluate", "--texts", tmp_path / "texts.txt", "--inverter", folder)
    drafts = ("--drafts", tmp_path / "drafts.jsonl")
    code, out, _ = command(*options, *drafts, "--limit", 2, "--rounds", 1, "--beam", 2, "--json")
    result = json.loads(out.splitlines()[-1])
    assert code == 0 and result["n"] == 2
    scores = ["bleu", "bleu_seed", "token_f1", "exact_match", "cosine"]
    assert list(result["rounds"][0]) == ["round", *scores, "seconds", "embedder_calls"]
    assert result["rounds"][0]["exact_match"] == 50 and result["rounds"][0]["embedder_calls"] == 2
    for key in scores:
        low, high = result[key]["ci95"]
        assert low <= result[key]["value"] + 1e-9 and result[key]["value"] <= high + 1e-9
    assert result["embedder_calls_per_text"] == result["rounds"][-1]["embedder_calls"] / 2
    assert result["seconds_per_text"] > 0
    code, out, _ = command(*options, "--limit", 1, "--rounds", 0)
    assert code == 0 and "token F1" in out


def test_export_shrinks_and_keeps(command, tiny, tmp_path, folder):
    tiny.corrector.save_pretrained(tmp_path / "float", tiny.tokenizer)
    assert command("export", tmp_path / "float", tmp_path / "small")[0] == 0
    big, small = (
        (tmp_path / name / "model.safetensors").stat().st_size for name in ("float", "small")
    )
    assert small < 0.3 * big
    code, out, _ = command(
        "invert", "text", "--inverter", tmp_path / "small", "--rounds", 0, "--beam", 1
    )
    assert code == 0 and json.loads(out)


@pytest.mark.parametrize("bad", [(0,), (1, 3), (0, 1, 2, 3)])
def test_bad_vectors_are_lines_with_an_error_and_stop_nothing(
    command, folder, tmp_path, minilm, bad
):
    vectors = minilm.encode(["a lamp", "a door", "a boat", "a hat"])
    options = ("--inverter", folder, "--rounds", 1, "--beam", 2)
    np.save(tmp_path / "v.npy", vectors)
    _, whole, _ = command("invert", "--vectors", tmp_path / "v.npy", *options)
    for row, value in zip(bad, (np.nan, 0, np.inf, 0), strict=False):
        vectors[row] = value
    np.save(tmp_path / "v.npy", vectors)
    code, out, err = command("invert", "--vectors", tmp_path / "v.npy", *options)
    assert code == 2 and err.count("\n") == 1 and f"vector {bad[0]} is not finite" in err
    lines = [json.loads(line) for line in out.splitlines()]
    assert len(lines) == len(vectors)
    for i, (line, before) in enumerate(zip(lines, whole.splitlines(), strict=True)):
        why = ("not finite", "zero", "not finite", "zero")[bad.index(i)] if i in bad else None
        failed = {"id": i, "text": None, "inverted": None, "error": why}
        assert line == (failed if i in bad else json.loads(before))


@pytest.mark.parametrize("kind", ["unit", "long", "int8"])
def test_a_folder_of_results_says_what_the_lines_say(
    command, folder, tmp_path, minilm, passages, kind
):
    vectors = minilm.encode([text[:40] for text in passages[:3]])
    values = {"unit": vectors, "long": 7 * vectors, "int8": (vectors * 500).round().astype("int8")}
    np.save(tmp_path / "v.npy", values[kind])
    options = ("--vectors", tmp_path / "v.npy", "--inverter", folder, "--rounds", 2, "--beam", 2)
    lines = [json.loads(line) for line in command("invert", *options)[1].splitlines()]
    assert command("invert", *options, "--out", tmp_path / "out")[0] == 0
    rows = pq.read_table(tmp_path / "out").to_pylist()
    assert len(rows) == len(lines) == 3
    for row, line in zip(rows, lines, strict=True):
        for name in ("inverted", "cosine", "stopped", "embedder_calls"):
            assert row[name] == line[name]
        assert row["rounds"] == len(line["rounds"]) - 1


def test_help_gives_the_true_defaults(command):
    for name in ("invert", "evaluate"):
        said = " ".join(command(name, "--help")[1].replace("│", " ").split())
        evolution, beam = EFFORTS["default"].rounds, ROUNDS["default"]
        assert f"by default {evolution} in an evolution, {beam} in a beam search" in said
        assert f"and {EXHAUSTIVE_ROUNDS} in the exhaustive one" in said
