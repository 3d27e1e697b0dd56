"""Judge a report by the limits of a gate and by an earlier report. A defence is as good as its best
attacker lets it be."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from nanov2t.audit.content import KINDS
from nanov2t.audit.figures import MEASURES, SCORES, TELLING, measured
from nanov2t.audit.membership import RATES
from nanov2t.core.errors import UserError, first_line, one_line
from nanov2t.core.imports import import_client

SCHEMA = 3
"""Version of report.json; it grows when a key changes its meaning or goes."""
SEVERITIES = {"error": "8.0", "warning": "5.0", "note": "2.0"}
"""Severities of limits, as the scores that GitHub shows. Only a broken error fails a build."""
Report = Mapping[str, Any]
"""A report, or its row of a defence."""


class Limit(NamedTuple):
    """A limit of a gate. The name is the metric, with `@16` behind it if it is of one length. The
    rule is `max`, `min`, or `min_share`: a share of the undefended figure."""

    name: str
    metric: str
    rule: str
    value: float
    severity: str = "error"


def read_gate(path: Path, lengths: Sequence[int]) -> list[Limit]:
    """Read limits from a YAML file, such as `exact_match@16: {max: 5}`, `names: {max: 10}` or
    `ndcg@10: {min_share: 0.97}`. A UserError if an audit of these lengths cannot judge them."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path}: cannot be read: {one_line(error)}") from None
    if not isinstance(content, dict) or not content:
        raise UserError(f"{path}: holds no limits")
    leaks = (*SCORES, *KINDS)
    known = {f"{metric}@{n}": metric for metric in leaks for n in lengths}
    known |= {metric: metric for metric in (*leaks, *RATES, *MEASURES)}
    limits = []
    for name, rules in content.items():
        if name not in known:
            ends = ", ".join(f"@{n}" for n in lengths)
            names = ", ".join((*leaks, *RATES, *MEASURES))
            raise UserError(f"{path}: {name}: not one of {names}; leakage may end with {ends}")
        metric = known[name]
        allowed = ("min", "min_share") if metric in MEASURES else ("max",)
        # A share also runs from 0 to 1, like the figures that it is of.
        low, high = (-1, 1) if metric == "cosine" else (0, 1) if metric in MEASURES else (0, 100)
        given = dict(rules) if isinstance(rules, dict) and rules else {"": rules}
        severity = given.pop("severity", "error")
        if severity not in SEVERITIES:
            raise UserError(f"{path}: {name}: severity {severity} is not error, warning or note")
        for rule, value in given.items():
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if rule not in allowed or not number or not low <= value <= high:
                form = f"{{{' or '.join(allowed)}: a number from {low} to {high}}}"
                raise UserError(f"{path}: {name}: needs {form}, not {rules}")
            limits.append(Limit(name, metric, rule, float(value), severity))
    return limits


def refuse_untold(limits: Sequence[Limit], head: Report) -> None:
    """Refuse limits on figures that the audit will not have, by the `samples`, `retrieval` and
    `membership` of its report."""
    documents = head["retrieval"]["documents"]
    others = head["membership"]["others"]
    for limit in limits:
        if limit.metric in RATES and others * RATES[limit.metric] < 1:
            raise UserError(f"gate: {limit.name}: {others} texts that are no members are too few")
        if limit.metric in MEASURES and limit.metric not in measured(documents):
            few = f"{documents} documents are too few to tell, it takes {TELLING}"
            raise UserError(f"gate: {limit.name}: {few}")
        kinds = [
            sample["kinds"][limit.metric]
            for sample in head["samples"]
            if limit.name in (limit.metric, f"{limit.metric}@{sample['tokens']}")
            and limit.metric in sample["kinds"]
        ]
        if limit.metric in KINDS and not any(kind["whole"] for kind in kinds):
            cut = max((kind["before"] for kind in kinds), default=0)
            why = f"all {cut} are cut off" if cut else "the texts hold none"
            raise UserError(f"gate: {limit.name}: nothing to judge: {why}")


def judge(limits: Sequence[Limit], report: Report) -> list[dict[str, Any]]:
    """Judge every defence, or the plain vectors if there is none, by the worse end of each 95 %
    interval. The verdicts are those of report.json."""
    plain, *defended = report["defences"] or [{}]
    verdicts = []
    for row, limit in itertools.product(defended or [plain], limits):
        whole = plain["utility"][limit.metric]["value"] if limit.rule == "min_share" else None
        least = limit.value * (1.0 if whole is None else whole)
        for name, attacker, figure in best_figures(row, limit.metric):
            if limit.name in (limit.metric, name):
                low, high = figure["ci95"]
                found: dict[str, Any] = {"defence": row["defence"], "limit": name}
                found |= {"rule": limit.rule, "allowed": limit.value, "attacker": attacker}
                found |= {
                    "severity": limit.severity,
                    "measured": high if attacker else low,
                    "undefended": whole,
                }
                verdicts.append(found | {"kept": high <= limit.value if attacker else low >= least})
    return verdicts


def sentence(verdict: Report) -> str:
    """A broken limit in words."""
    facts = f"{verdict['defence']}: {verdict['limit']} is"
    measured, allowed = f"{verdict['measured']:.4g}", f"limit {verdict['allowed']:g}"
    if attacker := verdict["attacker"]:
        return f"{facts} up to {measured} (attacker: {attacker}), {allowed}"
    whole = verdict["undefended"]
    return f"{facts} down to {measured}, {allowed}{'' if whole is None else f' of {whole:.4g}'}"


def lengths_of(row: Report) -> list[int]:
    """The lengths of text that a defence was attacked with, in tokens."""
    return [length["tokens"] for length in row["attackers"][0]["lengths"]]


def strongest(row: Report, tokens: int, metric: str) -> tuple[str, Report] | None:
    """The name and figure of the attacker who does best on texts of a length, if any."""
    figures = [
        (attacker["name"], length[metric] if metric in SCORES else length["kinds"].get(metric))
        for attacker in row["attackers"]
        for length in attacker["lengths"]
        if length["tokens"] == tokens
    ]
    known = [(name, figure) for name, figure in figures if figure is not None]
    return max(known, key=lambda item: item[1]["value"], default=None)


def best_figures(row: Report, metric: str) -> Iterator[tuple[str, str | None, Report]]:
    """The figures of a metric as a gate names them, each with the best attacker: one for each
    length, or a single one of membership, or of retrieval, which has no attacker."""
    if metric in RATES:
        if figure := row.get("membership", {}).get(metric):
            yield metric, figure["attacker"], figure
    elif metric not in MEASURES:
        for tokens in lengths_of(row):
            if best := strongest(row, tokens, metric):
                yield f"{metric}@{tokens}", *best
    elif metric in row["utility"]:
        yield metric, None, row["utility"][metric]


def read_report(path: Path) -> dict[str, Any]:
    """Read the report.json of an earlier audit; a UserError if it is none."""
    jsonschema = import_client("jsonschema", "audit")
    try:
        report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        jsonschema.validate(report, schema())
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {first_line(error)}") from None
    except jsonschema.ValidationError as error:
        wrong = f"{error.json_path}: {first_line(error)}"
        raise UserError(f"{path}: not the report of an audit, version {SCHEMA}: {wrong}") from None
    return report


def schema() -> Any:
    """The JSON Schema of report.json."""
    return json.loads((files("nanov2t.audit") / "report.schema.json").read_text(encoding="utf-8"))


def regressions(report: Report, earlier: Report) -> list[str]:
    """A line for each figure that is worse than its 95 % interval in an earlier report. Defences,
    lengths and kinds that only one report has are not compared."""
    before = {row["defence"]: row for row in earlier["defences"]}
    rows = [row for row in report["defences"] if row["defence"] in before]
    lines = []
    for row, metric in itertools.product(rows, (*MEASURES, *SCORES, *RATES, *KINDS)):
        old = best_figures(before[row["defence"]], metric)
        intervals = {name: figure["ci95"] for name, _, figure in old}
        for name, attacker, figure in best_figures(row, metric):
            low, high = intervals.get(name, (-math.inf, math.inf))
            value, said = figure["value"], f"{row['defence']}: {name} is {figure['value']:.4g}"
            if attacker is None and value < low:
                lines.append(f"{said}, before at least {low:.4g}")
            elif attacker is not None and value > high:
                lines.append(f"{said} (attacker: {attacker}), before at most {high:.4g}")
    return lines
