"""What has become worse since an earlier audit is named."""

import copy
import json

import pytest
from audit_rows import DEFENDED, PLAIN, report

from nanov2t.audit.judging import read_report, regressions
from nanov2t.core.errors import UserError

REPORT = report(PLAIN, DEFENDED)


def changed(defence, **figures):
    """The report with other values of a defence's first attacker, or of its retrieval."""
    report = copy.deepcopy(REPORT)
    [row] = [row for row in report["defences"] if row["defence"] == defence]
    length = row["attackers"][0]["lengths"][0]
    for name, value in figures.items():
        home = length["kinds"] if name == "names" else length
        home[name] = {"value": value, "ci95": [value, value]}
    return report


def test_the_same_is_no_regression_and_better_is_none_either():
    assert regressions(REPORT, REPORT) == []
    assert regressions(changed("none", exact_match=10), REPORT) == []


def test_worse_than_the_interval_before_is_named():
    assert regressions(changed("bits", exact_match=6), REPORT) == [], "within the best attacker's"
    assert regressions(changed("bits", exact_match=6.5, names=9), REPORT) == [
        "bits: exact_match@16 is 6.5 (attacker: unchanged), before at most 6",
        "bits: names@16 is 9 (attacker: unchanged), before at most 8",
    ]
    worse = copy.deepcopy(REPORT)
    worse["defences"][0]["utility"]["ndcg@10"] = {"value": 0.5, "ci95": [0.4, 0.6]}
    assert regressions(worse, REPORT) == ["none: ndcg@10 is 0.5, before at least 0.79"]


def test_what_only_one_has_is_not_compared():
    assert regressions(REPORT, REPORT | {"defences": [PLAIN]}) == []


@pytest.mark.parametrize(
    "text", ["", "[]", json.dumps(REPORT | {"schema": 99}), json.dumps(REPORT | {"defences": [{}]})]
)
def test_what_is_no_report_is_refused(tmp_path, text):
    path = tmp_path / "report.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"report\.json"):
        read_report(path)
    path.write_text(json.dumps(REPORT))
    assert read_report(path) == json.loads(json.dumps(REPORT))
