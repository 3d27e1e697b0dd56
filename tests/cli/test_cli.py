import json
import os
import subprocess
import sys
import time

import numpy as np
import pyarrow.parquet as pq
import pytest
from support import HERE

from nanov2t.pretrained import DEFAULT
from nanov2t.search.evolution import EFFORTS
from nanov2t.search.options import EXHAUSTIVE_ROUNDS, ROUNDS


@pytest.fixture(scope="module")
def folder(tiny, tmp_path_factory):
    path = tmp_path_factory.mktemp("inverter") / "tiny"
    tiny.corrector.save_pretrained(path, tiny.tokenizer, int8=True)
    return str(path)


@pytest.fixture
def run(command):
    return command


def test_help_is_instant_and_free_of_torch():
    began = time.monotonic()
    command = [sys.executable, "-X", "importtime", "-m", "nanov2t", "--help"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and "evaluate" in done.stdout
    assert " torch" not in done.stderr
    assert time.monotonic() - began < 5


def test_invert_prints_a_json_object_a_line(run, folder):
    code, out, _ = run(
        "invert", "Hello World", "a second text", "--inverter", folder, "--rounds", 1, "--beam", 2
    )
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and [row["text"] for row in rows] == ["Hello World", "a second text"]
    for row in rows:
        assert list(row) == ["text", "inverted", "cosine", "stopped", "embedder_calls", "rounds"]
        assert [list(r) for r in row["rounds"]] == [["round", "text", "cosine"]] * 2
        assert row["stopped"] == "rounds" and row["inverted"] == row["rounds"][-1]["text"]


def test_a_text_and_its_vector_give_the_same(run, folder, tmp_path, minilm):
    np.save(tmp_path / "v.npy", minilm.encode(["hello world"]))
    options = ("--inverter", folder, "--rounds", 1, "--beam", 2)
    [by_text], [by_vector] = (
        run("invert", *what, *options)[1].splitlines()
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


def test_long_texts_are_cut_and_said(run, folder):
    code, out, err = run("invert", "word " * 40, "--inverter", folder, "--rounds", 0, "--beam", 1)
    assert (
        code == 0
        and json.loads(out)
        and err == "nanov2t: text 1 has 40 tokens; only the first 8 are inverted\n"
    )


def test_evaluate(run, folder, tmp_path):
    (tmp_path / "texts.txt").write_text("The old ferry.\nAnother text.\nunused\n")
    (tmp_path / "drafts.jsonl").write_text(
        '{"idx": 1, "draft": "another text."}\n{"idx": 0, "draft": "the"}\n'
    )
    code, out, _ = run(
        "evaluate",
        "--texts",
        tmp_path / "texts.txt",
        "--inverter",
        folder,
        "--limit",
        2,
        "--rounds",
        1,
        "--beam",
        2,
        "--drafts",
        tmp_path / "drafts.jsonl",
        "--json",
    )
    result = json.loads(out.splitlines()[-1])
    assert code == 0 and result["n"] == 2
    assert list(result["rounds"][0]) == [
        "round",
        "bleu",
        "bleu_seed",
        "token_f1",
        "exact_match",
        "cosine",
        "seconds",
        "embedder_calls",
    ]
    assert result["rounds"][0]["exact_match"] == 50 and result["rounds"][0]["embedder_calls"] == 2
    for key in ("bleu", "token_f1", "exact_match", "cosine"):
        low, high = result[key]["ci95"]
        assert low <= result[key]["value"] + 1e-9 and result[key]["value"] <= high + 1e-9
    assert result["embedder_calls_per_text"] == result["rounds"][-1]["embedder_calls"] / 2
    assert result["seconds_per_text"] > 0
    code, out, _ = run(
        "evaluate",
        "--texts",
        tmp_path / "texts.txt",
        "--inverter",
        folder,
        "--limit",
        1,
        "--rounds",
        0,
    )
    assert code == 0 and "token F1" in out


def test_export_shrinks_and_keeps(run, tiny, tmp_path, folder):
    tiny.corrector.save_pretrained(tmp_path / "float", tiny.tokenizer)
    assert run("export", tmp_path / "float", tmp_path / "small")[0] == 0
    big, small = (
        (tmp_path / name / "model.safetensors").stat().st_size for name in ("float", "small")
    )
    assert small < 0.3 * big
    code, out, _ = run(
        "invert", "text", "--inverter", tmp_path / "small", "--rounds", 0, "--beam", 1
    )
    assert code == 0 and json.loads(out)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((), "Expected one of"),
        (("invert",), "give either texts or --vectors"),
        (("invert", "x", "--vectors", "v.npy"), "give either texts or --vectors"),
        (("invert", ""), "text 1 is empty"),
        (("invert", "fine", " \t"), "text 2 is empty"),
        (
            ("invert", "x", "--inverter", "nope"),
            f"inverter nope: neither a folder nor one of {DEFAULT}",
        ),
        (("invert", "x", "--rounds", "-1"), "--rounds must be at least 0"),
        (("invert", "x", "--rounds", "two"), "--rounds"),
        (("invert", "x", "--beam", "0"), "--beam must be at least 1"),
        (("invert", "x", "--nonsense"), "--nonsense"),
        (("invert", "x", "--engine", "ray"), "--engine ray needs --vectors and --out"),
        (("invert", "x", "--address", "a:1"), "--address needs --engine ray"),
        (("invert", "x", "--ids", "key"), "--ids needs --vectors"),
        (("invert", "x", "--out", "found"), "--out needs --vectors"),
        (("invert", "--vectors", "v.npy", "--out", "fine.txt"), "fine.txt: cannot be made"),
        (("invert", "--vectors", "v.npy", "--out", "fine.txt/found"), "found: cannot be made"),
        (("invert", "--vectors", "none.npy"), "none.npy: no such file"),
        (("invert", "--vectors", "text.npy"), "text.npy: cannot be read"),
        (("invert", "--vectors", "truncated.npy"), "truncated.npy: cannot be read"),
        (("invert", "--vectors", "objects.npy"), "objects.npy: cannot be read"),
        (("invert", "--vectors", "wide.npy"), "385"),
        (("invert", "--vectors", "none.npy", "--inverter", "half"), "none.npy"),
        (("invert", "x", "--inverter", "half"), "half: damaged or not a generator"),
        (("invert", "x", "--inverter", "other"), "fingerprint"),
        (("evaluate", "--texts", "none.txt"), "none.txt: no such file"),
        (("evaluate", "--texts", "empty.txt"), "empty.txt: holds no text"),
        (("evaluate", "--texts", "fine.txt", "--limit", "0"), "--limit must be at least 1"),
        (("evaluate", "--texts", "fine.txt", "--drafts", "none.jsonl"), "none.jsonl: no such file"),
        (
            ("evaluate", "--texts", "fine.txt", "--drafts", "half"),
            "half: a folder without test.hyps",
        ),
        (("evaluate", "--texts", "half"), "half: cannot be read"),
        (
            ("evaluate", "--texts", "fine.txt", "--out", "fine.txt"),
            "fine.txt: cannot be made: File exists",
        ),
        (("invert", "x", "--search", "none"), "search none: not one of default, beam, evolution"),
        (("evaluate", "--texts", "fine.txt", "--drafts", "fine.txt"), "fine.txt, line 1"),
        (("evaluate", "--texts", "fine.txt", "--drafts", "other.jsonl"), "no draft for idx 0"),
        (("train",), "give a recipe"),
        (("train", "none.yaml"), "none.yaml: no such file"),
        (("train", "unknown.yaml"), "lerning_rate"),
        (("train", "wrong.yaml"), "batch"),
        (("train", "broken.yaml"), "broken.yaml"),
        (("train", "share.yaml"), "drafts.share must lie between 0 and 1"),
        (("train", "fine.yaml", "--optim.lrr", "1"), "--optim.lrr"),
        (("train", "fine.yaml", "--budget", "soon"), "budget 'soon'"),
        (
            ("train", "fine.yaml", "--tracker", "trackio"),
            "tracker trackio is not installed: pip install trackio",
        ),
        (("train", "fine.yaml", "--data.train", "none.txt"), "none.txt"),
        (("train", "fine.yaml", "--embedder", "no/such/folder"), "no/such/folder"),
        (("train", "fine.yaml", "--init", "half"), "half: damaged"),
        (("export", "none", "out"), "none: not a generator: config.json is missing"),
    ],
)
def test_what_a_user_can_mend_is_one_line_and_exit_code_2(
    run, args, said, tmp_path, monkeypatch, tiny
):
    monkeypatch.chdir(tmp_path)
    vectors = tiny.embedder.encode(["a", "b", "c"])
    np.save("truncated.npy", vectors)
    np.save("v.npy", vectors)
    os.truncate("truncated.npy", 1000)
    np.save("objects.npy", np.array([{}], object))
    np.save("wide.npy", np.ones((2, 385)))
    files = {
        "text.npy": "not an array",
        "empty.txt": "\n",
        "fine.txt": "a text\n",
        "other.jsonl": '{"idx": 1, "draft": "x"}',
        "unknown.yaml": "optim: {lerning_rate: 1}",
        "wrong.yaml": "optim: {batch: many}",
        "broken.yaml": "a: [",
        "share.yaml": "drafts: {share: 2}",
        "fine.yaml": "model: {t5: scratch, tokenizer: embedder}\n"
        f"data: {{train: '{HERE / 'passages.txt'}'}}",
    }
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    tiny.corrector.save_pretrained("half", tiny.tokenizer)
    os.truncate("half/model.safetensors", 5000)
    tiny.corrector.save_pretrained("other", tiny.tokenizer)
    config = json.loads((tmp_path / "other/config.json").read_text())
    config["embedder"]["fingerprint"] = "0123456789abcdef"
    (tmp_path / "other/config.json").write_text(json.dumps(config))
    before = sorted(path.name for path in tmp_path.iterdir())
    code, out, err = run(*args)
    assert code == 2 and out == ""
    assert said in err and err.startswith("nanov2t: ") and err.count("\n") == 1, err
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "runs") == before


@pytest.mark.parametrize("bad", [(0,), (1, 3), (0, 1, 2, 3)])
def test_bad_vectors_are_lines_with_an_error_and_stop_nothing(run, folder, tmp_path, minilm, bad):
    vectors = minilm.encode(["a lamp", "a door", "a boat", "a hat"])
    options = ("--inverter", folder, "--rounds", 1, "--beam", 2)
    np.save(tmp_path / "v.npy", vectors)
    _, whole, _ = run("invert", "--vectors", tmp_path / "v.npy", *options)
    for row, value in zip(bad, (np.nan, 0, np.inf, 0), strict=False):
        vectors[row] = value
    np.save(tmp_path / "v.npy", vectors)
    code, out, err = run("invert", "--vectors", tmp_path / "v.npy", *options)
    assert code == 2 and err.count("\n") == 1 and f"vector {bad[0]} is not finite" in err
    lines = [json.loads(line) for line in out.splitlines()]
    assert len(lines) == len(vectors)
    for i, (line, before) in enumerate(zip(lines, whole.splitlines(), strict=True)):
        why = ("not finite", "zero", "not finite", "zero")[bad.index(i)] if i in bad else None
        failed = {"id": i, "text": None, "inverted": None, "error": why}
        assert line == (failed if i in bad else json.loads(before))


@pytest.mark.parametrize("kind", ["unit", "long", "int8"])
def test_a_folder_of_results_says_what_the_lines_say(run, folder, tmp_path, minilm, passages, kind):
    vectors = minilm.encode([text[:40] for text in passages[:3]])
    values = {"unit": vectors, "long": 7 * vectors, "int8": (vectors * 500).round().astype("int8")}
    np.save(tmp_path / "v.npy", values[kind])
    options = ("--vectors", tmp_path / "v.npy", "--inverter", folder, "--rounds", 2, "--beam", 2)
    lines = [json.loads(line) for line in run("invert", *options)[1].splitlines()]
    assert run("invert", *options, "--out", tmp_path / "out")[0] == 0
    rows = pq.read_table(tmp_path / "out").to_pylist()
    assert len(rows) == len(lines) == 3
    for row, line in zip(rows, lines, strict=True):
        for name in ("inverted", "cosine", "stopped", "embedder_calls"):
            assert row[name] == line[name]
        assert row["rounds"] == len(line["rounds"]) - 1


def test_help_gives_the_true_defaults(run):
    for command in ("invert", "evaluate"):
        said = " ".join(run(command, "--help")[1].replace("│", " ").split())
        evolution, beam = EFFORTS["default"].rounds, ROUNDS["default"]
        assert f"by default {evolution} in an evolution, {beam} in a beam search" in said
        assert f"and {EXHAUSTIVE_ROUNDS} in the exhaustive one" in said
