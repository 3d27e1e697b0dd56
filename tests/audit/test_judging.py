"""Gates and earlier reports: what they pass, and what they name."""

import copy
import json

import pytest
from audit_rows import DEFENDED, PLAIN, report

from nanov2t.audit.judging import (
    judge,
    read_gate,
    read_report,
    refuse_untold,
    regressions,
    sentence,
    strongest,
)
from nanov2t.core.errors import UserError


def judged(tmp_path, text, *rows):
    path = tmp_path / "gate.yaml"
    path.write_text(text)
    verdicts = judge(read_gate(path, [16]), {"defences": rows})
    return [sentence(verdict) for verdict in verdicts if not verdict["kept"]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("exact_match@16: {max: 6}", None),
        ("exact_match: {max: 5}", "bits: exact_match@16 is up to 6 (attacker: informed), limit 5"),
        ("names: {max: 8}", None),
        ("names: {max: 7}", "bits: names@16 is up to 8 (attacker: unchanged), limit 7"),
        ("ndcg@10: {min_share: 0.86}", None),
        ("ndcg@10: {min_share: 0.87}", "bits: ndcg@10 is down to 0.69, limit 0.87 of 0.8"),
        ("ndcg@10: {min: 0.7}", "bits: ndcg@10 is down to 0.69, limit 0.7"),
    ],
)
def test_the_worse_end_of_the_best_attackers_interval_counts(tmp_path, text, said):
    lines = judged(tmp_path, text, PLAIN, DEFENDED)
    assert len(lines) == (said is not None) and (said or "") in "".join(lines)


def test_without_a_defence_the_plain_vectors_are_judged(tmp_path):
    assert judged(tmp_path, "exact_match: {max: 89}", PLAIN)
    assert not judged(tmp_path, "exact_match: {max: 90}", PLAIN)


def test_the_strongest_is_so_by_figure():
    assert strongest(DEFENDED, 16, "exact_match")[0] == "informed"
    assert strongest(DEFENDED, 16, "names")[0] == "unchanged"
    assert strongest(DEFENDED, 16, "dates") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no limits"),
        ("a: [", "cannot be read"),
        ("exact_match: 5", r"exact_match: needs {max: a number from 0 to 100}, not 5"),
        ("exact: {max: 5}", "exact: not one of exact_match, .*; leakage may end with @16"),
        ("ndcg@16: {min: 0.5}", "ndcg@16: not one of"),
        ("exact_match@8: {max: 5}", "exact_match@8: not one of"),
        ("exact_match: {min: 5}", "needs {max: a number from 0 to 100}, not {'min': 5}"),
        ("exact_match: {max: five}", "from 0 to 100}, not {'max': 'five'}"),
        ("exact_match: {max: 101}", "from 0 to 100}, not {'max': 101}"),
        ("names: {max: .nan}", "from 0 to 100}, not {'max': nan}"),
        ("cosine: {max: 90}", "from -1 to 1}, not {'max': 90}"),
        ("ndcg@10: {min: 90}", "needs {min or min_share: a number from 0 to 1}, not {'min': 90}"),
        ("ndcg@10: {min_share: 97}", "from 0 to 1}, not {'min_share': 97}"),
    ],
)
def test_a_limit_that_cannot_be_judged_is_one_line(tmp_path, text, said):
    with pytest.raises(UserError, match=said) as error:
        judged(tmp_path, text, PLAIN)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "documents", "said"),
    [
        ("recall@10: {min: 0.5}", 19, "recall@10: 19 documents are too few to tell, it takes 20"),
        ("recall@10: {min: 0.5}", 20, None),
        ("ndcg@10: {min: 0.5}", 19, None),
        ("names: {max: 5}", 20, None),
        ("dates@16: {max: 5}", 20, "dates@16: nothing to judge: all 4 are cut off"),
        ("emails: {max: 5}", 20, "emails: nothing to judge: the texts hold none"),
    ],
)
def test_limits_on_figures_that_there_will_not_be_are_refused(tmp_path, text, documents, said):
    (tmp_path / "gate.yaml").write_text(text)
    limits, head = read_gate(tmp_path / "gate.yaml", [16]), report(PLAIN)
    head["retrieval"]["documents"] = documents
    if said is None:
        refuse_untold(limits, head)
        return
    with pytest.raises(UserError) as error:
        refuse_untold(limits, head)
    assert str(error.value) == f"gate: {said}"


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
