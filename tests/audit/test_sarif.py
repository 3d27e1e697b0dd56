"""Broken limits as SARIF."""

import json
from pathlib import Path

import jsonschema
import pytest
from audit_rows import DEFENDED, PLAIN, report
from support import FIXTURES

from nanov2t.audit.judging import judge, read_gate
from nanov2t.audit.page import write_sarif
from nanov2t.core.errors import UserError

GATE = """# limits
exact_match@16: {max: 5, severity: warning}
'names': {max: 90}
membership@0.01fpr: {max: 40}
ndcg@10: {min_share: 0.95, severity: note}
"""


def test_broken_limits_are_results_at_their_lines(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    gate = Path("my gate.yaml")
    gate.write_text(GATE)
    made = report(PLAIN, DEFENDED)
    made["gate"] = judge(read_gate(gate, [16]), made)
    write_sarif(tmp_path / "x.sarif", made, gate)
    log = json.loads((tmp_path / "x.sarif").read_text())
    form = json.loads((FIXTURES / "sarif-2.1.0.json").read_text())
    jsonschema.Draft4Validator(form, format_checker=jsonschema.FormatChecker()).validate(log)
    [run] = log["runs"]
    said = [(x["ruleId"], x["level"], x["message"]["text"]) for x in run["results"]]
    assert said == [
        (
            "exact_match@16",
            "warning",
            "bits: exact_match@16 is up to 6 (attacker: informed), limit 5",
        ),
        (
            "membership@0.01fpr",
            "error",
            "bits: membership@0.01fpr is up to 41 (attacker: unchanged), limit 40",
        ),
        ("ndcg@10", "note", "bits: ndcg@10 is down to 0.69, limit 0.95 of 0.8"),
    ]
    places = [x["locations"][0]["physicalLocation"] for x in run["results"]]
    assert [x["region"]["startLine"] for x in places] == [2, 4, 5]
    assert {x["artifactLocation"]["uri"] for x in places} == {"my%20gate.yaml"}
    assert [x["id"] for x in run["tool"]["driver"]["rules"]] == [rule for rule, _, _ in said]
    with pytest.raises(UserError, match=r"none/x\.sarif: cannot be written"):
        write_sarif(tmp_path / "none" / "x.sarif", made, gate)


def test_a_gate_that_is_kept_gives_no_results(tmp_path):
    (tmp_path / "gate.yaml").write_text("names: {max: 90}")
    made = report(PLAIN, DEFENDED)
    made["gate"] = judge(read_gate(tmp_path / "gate.yaml", [16]), made)
    write_sarif(tmp_path / "x.sarif", made, tmp_path / "gate.yaml")
    assert json.loads((tmp_path / "x.sarif").read_text())["runs"][0]["results"] == []


def test_an_unknown_severity_is_refused(tmp_path):
    (tmp_path / "gate.yaml").write_text("names: {max: 90, severity: grave}")
    with pytest.raises(UserError, match="severity grave is not error, warning or note"):
        read_gate(tmp_path / "gate.yaml", [16])
