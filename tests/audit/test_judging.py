"""A gate passes what is within its limits, and names what is not."""

import pytest
from audit_rows import DEFENDED, PLAIN

from nanov2t.audit.judging import judge, read_gate, strongest
from nanov2t.core.errors import UserError


def judged(tmp_path, text, *rows):
    path = tmp_path / "gate.yaml"
    path.write_text(text)
    verdicts = judge(read_gate(path, [16]), {"defences": rows})
    return [str(verdict) for verdict in verdicts if not verdict.kept]


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
        ("exact_match: 5", "needs a limit"),
        ("exact: {max: 5}", "no such figure"),
        ("ndcg@16: {min: 0.5}", "no such figure"),
        ("exact_match@8: {max: 5}", "texts of 8 tokens are not audited"),
        ("exact_match: {min: 5}", "no limit min, only max"),
        ("exact_match: {max: five}", "is no number: five"),
        ("dates: {max: 5}", "the texts hold nothing of that kind"),
    ],
)
def test_a_limit_that_cannot_be_judged_is_one_line(tmp_path, text, said):
    with pytest.raises(UserError, match=said) as error:
        judged(tmp_path, text, PLAIN)
    assert "\n" not in str(error.value)
