"""Drafts as files: written by a command, read by stage 2."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from types import SimpleNamespace

import datasets
import numpy as np
import pytest
import torch
import yaml
from processes import nanov2t, on_two
from support import tiny_config

from nanov2t.cli import main as cli
from nanov2t.core import parts
from nanov2t.core.errors import UserError
from nanov2t.recipes import train
from nanov2t.t5 import drafts as drafting
from nanov2t.t5.generator import Generator
from nanov2t.t5.stages import T5Task
from nanov2t.train.config import settings_of
from nanov2t.train.loop import start

COMMAND = ["draft", "stage1", "--texts", "nq"]


@pytest.fixture
def folder(tiny, passages, tmp_path, monkeypatch):
    """A folder with a stage-1 model and a data set of which a row is blank."""
    monkeypatch.chdir(tmp_path)
    tiny.hypothesizer.save_pretrained("stage1", tiny.tokenizer)
    (tmp_path / "nq").mkdir()
    rows = {"train": ["", *passages[:20]], "dev": [passages[20], " ", *passages[21:23]]}
    for split, texts in (rows | {"test": passages[23:25]}).items():
        datasets.Dataset.from_dict({"text": texts}).to_parquet(tmp_path / "nq" / f"{split}.parquet")
    monkeypatch.setattr(drafting, "PART", 6)
    return tmp_path


def run(monkeypatch, capsys, *args):
    monkeypatch.setattr(sys, "argv", ["nanov2t", *args])
    with suppress(SystemExit):
        cli.main()
    return capsys.readouterr()


def read(path):
    return {row["idx"]: row["draft"] for row in map(json.loads, path.read_text().splitlines())}


def stage2(folder, **drafts):
    config = tiny_config(folder / "stage2", "unused")
    config.data.train, config.data.dev = str(folder / "nq"), ""
    config.data.max_tokens, config.optim.epochs, config.eval_limit = 8, 1.0, 3
    config.drafts.hypothesizer = ""
    for name, value in drafts.items():
        setattr(config.drafts, name, str(value))
    return config


def test_every_row_with_text_has_a_draft_and_a_killed_command_goes_on(
    folder, tiny, passages, monkeypatch, capsys
):
    said = run(monkeypatch, capsys, *COMMAND).out.split()
    assert said == [f"stage1/drafts/{split}.hyps.jsonl" for split in ("train", "dev", "test")]
    drafts = read(folder / "stage1" / "drafts" / "train.hyps.jsonl")
    assert list(drafts) == list(range(1, 21))
    assert list(read(folder / "stage1" / "drafts" / "dev.hyps.jsonl")) == [0, 2, 3]
    first = tiny.tokenizer(passages[4], add_special_tokens=False)["input_ids"][:8]
    vector = tiny.embedder.encode([tiny.tokenizer.decode(first)])
    assert drafts[5] == tiny.invert(vector, rounds=0, beam=1)[0].text

    write = parts.write_whole

    def write_and_die(path, content):
        write(path, content)
        if path.name.startswith("part-00000001"):
            raise KeyboardInterrupt

    monkeypatch.setattr(parts, "write_whole", write_and_die)
    run(monkeypatch, capsys, *COMMAND, "--split", "train", "--out", "killed")
    assert not (folder / "killed" / "train.hyps.jsonl").exists()
    finished = folder / "killed" / ".train" / "part-00000000.jsonl"
    finished.write_text(finished.read_text().replace(drafts[1], "not written again"))
    monkeypatch.setattr(parts, "write_whole", write)
    run(monkeypatch, capsys, *COMMAND, "--split", "train", "--out", "killed")
    resumed = read(folder / "killed" / "train.hyps.jsonl")
    assert "not written again" in resumed[1]
    assert {i: resumed[i] for i in range(6, 21)} == {i: drafts[i] for i in range(6, 21)}
    assert sorted(path.name for path in (folder / "killed").iterdir()) == [
        "train.hyps.json",
        "train.hyps.jsonl",
    ]


def in_parts(*args):
    drafting.PART = 6
    nanov2t(*args)


def test_two_processes_write_the_drafts_of_one(folder, monkeypatch, capsys):
    run(monkeypatch, capsys, *COMMAND, "--out", "one")
    on_two(folder, in_parts, *COMMAND, "--out", "two")
    for split in ("train", "dev", "test"):
        name = f"{split}.hyps.jsonl"
        assert (folder / "one" / name).read_bytes() == (folder / "two" / name).read_bytes()


def test_a_corrector_learns_from_the_drafts_of_its_passages(folder, minilm):
    """Rows in any order, as nanoV2T leaves them; in place of a hypothesizer, which need not be
    there."""
    (folder / "hyps").mkdir()
    for split, count in (("train", 21), ("dev", 4)):
        rows = [{"idx": i, "draft": f"draft {i} of {split}"} for i in range(count)]
        lines = [json.dumps(row) for row in reversed(rows)]
        (folder / "hyps" / f"{split}.hyps.jsonl").write_text("\n".join(lines))
    recipe = settings_of(stage2(folder, hypothesizer="./gone"))
    (folder / "stage2.yaml").write_text(yaml.safe_dump(recipe))
    cli.train(["stage2.yaml", "--drafts.files", "hyps"])
    config = stage2(folder, files="hyps")
    assert Generator.from_pretrained(config.out / "model").config.corrects

    accelerator = start(config)
    tokenizer, generator = minilm.tokenizer, SimpleNamespace(eos_token_id=102)
    task = T5Task(config, generator, tokenizer, minilm, accelerator)
    assert task.texts == ["draft 0 of dev", "draft 2 of dev", "draft 3 of dev"]
    _, _, passages = task.crops.ids(1, config.optim.batch, task.share(0))
    given = task.batch(1, 0)
    texts = [f"draft {i + 1} of train" for i in passages]  # the blank row is no passage
    assert tokenizer.batch_decode(given["draft_input_ids"], skip_special_tokens=True) == texts
    assert torch.equal(given["draft_attention_mask"].sum(1), torch.full((len(texts),), 5))
    assert np.allclose(given["draft_embeddings"], minilm.encode(texts), atol=1e-6)


def test_a_hypothesizers_drafts_are_written_once(folder, tiny, monkeypatch, capsys):
    run(monkeypatch, capsys, *COMMAND, "--split", "train")
    config = stage2(folder, hypothesizer=folder / "stage1")
    train(config)
    path = config.out / "drafts" / "train.hyps.jsonl"
    assert read(path) == read(folder / "stage1" / "drafts" / "train.hyps.jsonl")
    written = path.stat().st_mtime_ns
    config.out.joinpath("model").rename(folder / "best")
    for checkpoint in config.out.glob("checkpoint-*"):
        checkpoint.rename(folder / checkpoint.name)
    train(config)
    assert path.stat().st_mtime_ns == written


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"embedder": {"name": "other", "fingerprint": "x"}}, "drafts of vectors of other x"),
        ({"max_tokens": 9}, "drafts of texts of 9 tokens, not 8"),
        ({}, "no draft for idx 1; 0 drafts, 21 rows"),
    ],
)
def test_drafts_that_do_not_fit_are_refused(folder, tiny, change, said):
    (folder / "drafts").mkdir()
    for split in ("train", "dev"):
        (folder / "drafts" / f"{split}.hyps.jsonl").write_text("")
    rows = [json.dumps({"idx": i, "draft": "x"}) for i in range(4)]
    (folder / "drafts" / "dev.hyps.jsonl").write_text("\n".join(rows))
    (folder / "drafts" / "train.hyps.json").write_text(json.dumps(change))
    with pytest.raises(UserError, match=said):
        train(stage2(folder, files=folder / "drafts"))


def test_other_drafts_are_not_written_over(folder, monkeypatch, capsys):
    (folder / "theirs").mkdir()
    (folder / "theirs" / "dev.hyps.jsonl").write_text("theirs")
    err = run(monkeypatch, capsys, *COMMAND, "--split", "dev", "--out", "theirs").err
    assert "dev.hyps.jsonl holds other drafts" in err and err.count("\n") == 1
    run(monkeypatch, capsys, *COMMAND, "--split", "dev", "--out", "ours")
    more = ("--split", "dev", "--out", "ours", "--texts", "nq/dev.parquet")
    err = run(monkeypatch, capsys, *COMMAND[:2], *more).err
    assert "another texts (nq, not nq/dev.parquet" in err
    err = run(monkeypatch, capsys, *COMMAND[:2], "--texts", "nq/dev.parquet").err
    assert "is a file: name its drafts with --split" in err


def test_a_hypothesizer_of_another_vocabulary_or_embedder_is_refused(folder, tiny):
    tiny.tokenizer.save_pretrained("stage1")
    path = folder / "stage1" / "tokenizer.json"
    path.write_text(path.read_text().replace('"zero"', '"zeroo"'))
    with pytest.raises(UserError, match="writes in another vocabulary"):
        train(stage2(folder, hypothesizer=folder / "stage1"))
    path = folder / "stage1" / "config.json"
    fingerprint = tiny.embedder.info.fingerprint
    path.write_text(path.read_text().replace(fingerprint, "0" * 16))
    with pytest.raises(UserError, match=f"inverts .*{'0' * 16}.*, not"):
        train(stage2(folder, hypothesizer=folder / "stage1"))
