"""The command: its report, going on after a kill, two processes, its gate, and what it refuses."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from audit_rows import attacker, row
from audit_rows import report as made
from judged import beir
from processes import nanov2t, on_two

from nanov2t.audit import attackers
from nanov2t.audit.figures import leakage, make_sample, share
from nanov2t.audit.judging import schema
from nanov2t.core.errors import UserError
from nanov2t.inverter import Inverter

TEXTS = [
    "Norma Fisher <script>alert(1)</script> called at noon.",
    "The right\u202eto left mark | and *stars* stay.",
    "My father repairs old clocks in the cellar.",
]


@pytest.fixture
def audit(tiny, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    tiny.corrector.save_pretrained("tiny", tiny.tokenizer)
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS), encoding="utf-8")
    (tmp_path / "gate.yaml").write_text("exact_match@4: {max: 70}\nndcg@10: {min_share: 0.1}\n")

    return lambda *more: command(*COMMAND, *more)


COMMAND = ["audit", "--texts", "texts.txt", "--public", "texts.txt", "--out", "out"]
COMMAND += ["--inverter", "tiny", "--rounds", "0", "--beam", "1", "--limit", "2", "--lengths", "4"]


def timeless(report):
    """A report without what no two audits share."""
    if isinstance(report, dict):
        return {k: timeless(v) for k, v in report.items() if k not in ("seconds", "date")}
    return [timeless(x) for x in report] if isinstance(report, list) else report


DEFENDED = ("--defence", "bits", "rotation", "--pairs", "2")


def test_two_audits_agree_and_one_that_was_killed_goes_on(audit, tmp_path, monkeypatch):
    monkeypatch.setattr(attackers, "PART", 1)
    code, out, err = audit(*DEFENDED, "--gate", "gate.yaml")
    assert code == 0 and out.strip() == "out/report.html", err
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "fisher" in page and "<script>alert" not in page and "\u202e" not in page
    first = json.loads((tmp_path / "out" / "report.json").read_text())
    jsonschema.validate(first, schema())
    assert [
        (row["defence"], [attacker["name"] for attacker in row["attackers"]])
        for row in first["defences"]
    ] == [
        ("none", ["unchanged"]),
        ("bits", ["unchanged", "informed", "2 pairs"]),
        ("rotation", ["unchanged", "2 pairs"]),
    ]
    audit(*DEFENDED, "--gate", "gate.yaml", "--out", "fresh")
    fresh = json.loads((tmp_path / "fresh" / "report.json").read_text())
    assert timeless(fresh) == timeless(first) and fresh != first
    sorted((tmp_path / "out" / "found").rglob("part-*.json"))[0].unlink()
    stream, calls = Inverter.stream, []
    monkeypatch.setattr(
        Inverter, "stream", lambda *a, **k: calls.append(len(a[1])) or stream(*a, **k)
    )
    audit(*DEFENDED, "--gate", "gate.yaml")
    assert calls == [1], "only what is missing is inverted again"
    again = json.loads((tmp_path / "out" / "report.json").read_text())
    assert timeless(again) == timeless(first)


def test_another_process_whose_arithmetic_rounds_otherwise_finds_what_was_read(audit, tmp_path):
    defences = ("--defence", "bits", "noise:0.01", "--pairs", "2")
    code, _, err = audit(*defences)
    first, kept = json.loads((tmp_path / "out" / "report.json").read_text()), found(tmp_path)
    assert code == 0 and kept, err
    other = os.environ | {"PYTHONHASHSEED": "7", "MKL_CBWR": "COMPATIBLE"}
    again = [sys.executable, "-m", "nanov2t", *COMMAND, *defences]
    subprocess.run(again, env=other, check=True, capture_output=True)
    assert found(tmp_path) == kept, "nothing is searched again"
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert timeless(report) == timeless(first)


def found(folder):
    return sorted(str(path) for path in (folder / "out" / "found").rglob("part-*.json"))


def counting(*args):
    """The command in parts of a vector each; leaves in a file how many this process inverted."""
    attackers.PART, stream, calls = 1, Inverter.stream, []
    Inverter.stream = lambda *a, **k: calls.append(len(a[1])) or stream(*a, **k)
    nanov2t(*args)
    Path(f"calls{os.environ['RANK']}").write_text(str(sum(calls)))


def test_two_processes_share_the_work_and_report_what_one_does(audit, tmp_path, monkeypatch):
    assert on_two(tmp_path, counting, *COMMAND, *DEFENDED).strip() == "out/report.html"
    first, second = (int((tmp_path / f"calls{rank}").read_text()) for rank in range(2))
    assert first == second == len(list((tmp_path / "out" / "found").rglob("part-*.json"))) / 2
    monkeypatch.setattr(attackers, "PART", 1)
    assert audit(*DEFENDED, "--out", "one")[0] == 0
    two, one = (
        timeless(json.loads((tmp_path / out / "report.json").read_text())) for out in ("out", "one")
    )
    assert two == one


def test_a_report_without_texts_by_judgements_of_ones_own(audit, tmp_path):
    beir(tmp_path / "own")
    assert audit("--redact", "--queries", "own")[0] == 0
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert "Withheld" in page and "fisher" not in page and "fisher" not in json.dumps(report)
    assert report["retrieval"] == {
        "judgements": "own",
        "queries": 2,
        "documents": 3,
        "left_out": {"documents without text": 1, "queries to which no document is relevant": 1},
    }
    assert list(report["defences"][0]["utility"]) == ["ndcg@10"]
    assert "those of own." in page and "second half" not in page


def test_an_audit_that_fails(audit, tmp_path):
    report = made(row("none", 1, attacker("unchanged", 100)))
    report["defences"][0]["utility"]["ndcg@10"] = {"value": 1.5, "ci95": [1.5, 1.5]}
    (tmp_path / "before.json").write_text(json.dumps(report))
    (tmp_path / "gate.yaml").write_text("exact_match: {max: 0}\n")
    code, out, err = audit("--gate", "gate.yaml", "--baseline", "before.json")
    gate, regression = err.splitlines()[-2:]
    assert code == 1 and out.strip() == "out/report.html"
    assert gate.startswith("none: exact_match@4 is up to")
    assert regression.startswith("none: ndcg@10 is") and regression.endswith("at least 1.5")
    assert "fisher" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--defence", "sponge"], "defence sponge: neither one of"),
        (["--defence", "int8", "--pairs", "9"], "--pairs 9: between 2 and 3"),
        (["--lengths", "64"], "--lengths 64: inverter tiny writes 1 to 8 tokens"),
        (["--texts", "none.txt"], "none.txt: no such file"),
        (["--queries", "none"], "none: no such folder"),
        (["--gate", "none.yaml"], "none.yaml: cannot be read"),
        (["--baseline", "none.json"], "none.json: cannot be read"),
        (["--limit", "1"], "--limit must be at least 2"),
        (["--train-budget", "soon"], "budget 'soon' is not a duration"),
        (["--train-budget", "0s"], "--train-budget must be more than 0s"),
        (["--train-budget", "9m"], "--train-budget: needs an inverter that looks inside"),
    ],
)
def test_what_will_not_do_is_one_line(audit, tmp_path, more, said):
    code, out, err = audit(*more)
    assert code == 2 and not out and said in err.splitlines()[-1]
    assert not (tmp_path / "out" / "report.json").exists()


def test_texts_that_are_left_out_and_items_that_are_cut_off_are_counted(tiny):
    late = "The letter that we sent in spring was signed by Corey Jones on 2024-05-01."
    sample = make_sample(tiny, ["too short", *TEXTS[:1], late, *TEXTS[1:]], 8, limit=2)
    assert len(sample.references) == 2 and sample.references[0].startswith("norma fisher")
    assert [item.text for item in sample.items[0]] == ["norma fisher", "1"]
    told = sample.facts
    assert told["n"] == 2 and {why: n for why, n in told["left_out"].items() if n} == {
        "shorter than 8 tokens": 1,
        "more than --limit": 2,
    }
    assert told["kinds"] == {
        "names": {"before": 2, "whole": 1},
        "dates": {"before": 1, "whole": 0},
        "numbers": {"before": 1, "whole": 1},
    }
    with pytest.raises(UserError, match="1 of 1 texts long enough, and at least 2"):
        make_sample(tiny, TEXTS[:1], 8, limit=2)


def test_texts_read_out_whole_leak_all_and_the_control_nothing(tiny):
    sample = make_sample(
        tiny, ["Norma Fisher paid 4200 euros", "Call Corey Jones in 1996 or"], 6, 2
    )
    figures = leakage(tiny.embedder, sample, sample.references)
    shuffled = leakage(tiny.embedder, sample, sample.references[::-1])
    for name in ("exact_match", "bleu", "token_f1"):
        assert figures[name]["value"] == pytest.approx(100) and shuffled[name]["value"] < 20
    assert figures["cosine"]["value"] == pytest.approx(1) and shuffled["cosine"]["value"] < 0.6
    assert {k: (v["value"], v["n"]) for k, v in figures["kinds"].items()} == {
        "names": (100, 2),
        "numbers": (100, 2),
    }
    assert shuffled["kinds"]["names"]["value"] == 0


def test_what_never_happened_among_few_texts_may_happen():
    assert share(np.zeros(50))["ci95"] == pytest.approx([0, 7.1], abs=0.05)
    assert share(np.full(50, 100.0))["ci95"] == pytest.approx([92.9, 100], abs=0.05)
    half = share(np.array([0.0, 100.0] * 50))
    assert half["value"] == 50 and half["ci95"] == pytest.approx([40.4, 59.6], abs=0.05)
