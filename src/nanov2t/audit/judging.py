"""Judge a report by the limits of a gate and by an earlier report. A defence is as good as its best
attacker lets it be."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from nanov2t.audit.content import KINDS
from nanov2t.audit.leakage import SCORES
from nanov2t.audit.retrieval import MEASURES, TELLING, measured
from nanov2t.core.errors import UserError, first_line, one_line
from nanov2t.core.imports import import_client

SCHEMA = 3
"""Version of report.json; it grows when a key changes its meaning or goes."""
Report = Mapping[str, Any]
"""A report, or its row of a defence."""


@dataclass(frozen=True)
class Limit:
    """A limit of a gate."""

    metric: str
    """One of SCORES, KINDS or MEASURES."""
    tokens: int | None
    """The length of the texts; None: all lengths."""
    rule: str
    """`max`, `min`, or `min_share`: a share of the undefended figure."""
    value: float

    @property
    def name(self) -> str:
        return self.metric if self.tokens is None else f"{self.metric}@{self.tokens}"


def read_gate(path: Path, lengths: Sequence[int]) -> list[Limit]:
    """Read limits from a YAML file, such as `exact_match@16: {max: 5}`, `names: {max: 10}` or
    `ndcg@10: {min_share: 0.97}`.

    Raises:
        UserError: it cannot be read, or has a limit that an audit of these lengths cannot judge.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path}: cannot be read: {one_line(error)}") from None
    if not isinstance(content, dict) or not content:
        raise UserError(f"{path}: holds no limits")
    limits = []
    for name, rules in content.items():
        if not isinstance(rules, dict) or not rules:
            raise UserError(f"{path}: {name}: needs a limit, such as {{max: 5}}")
        metric, tokens = _metric(path, str(name), lengths)
        allowed = ("min", "min_share") if metric in MEASURES else ("max",)
        # A share also runs from 0 to 1, like the figures that it is of.
        low, high = (-1, 1) if metric == "cosine" else (0, 1) if metric in MEASURES else (0, 100)
        for rule, value in rules.items():
            if rule not in allowed:
                raise UserError(f"{path}: {name}: no limit {rule}, only {', '.join(allowed)}")
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise UserError(f"{path}: {name}: {rule} is no number: {value}")
            if not low <= value <= high:
                scale = f"{metric} runs from {low} to {high}"
                raise UserError(f"{path}: {name}: {rule} is {value:g}, but {scale}")
            limits.append(Limit(metric, tokens, rule, float(value)))
    return limits


def _metric(path: Path, name: str, lengths: Sequence[int]) -> tuple[str, int | None]:
    """Split the key of a gate into its metric and length."""
    if name in MEASURES:
        return name, None
    metric, at, tokens = name.partition("@")
    if metric not in (*SCORES, *KINDS):
        known = ", ".join((*SCORES, *KINDS, *MEASURES))
        raise UserError(f"{path}: {name}: no such figure, only {known}")
    if not at:
        return metric, None
    if tokens not in map(str, lengths):
        raise UserError(f"{path}: {name}: texts of {tokens} tokens are not audited")
    return metric, int(tokens)


def refuse_untold(limits: Sequence[Limit], head: Report) -> None:
    """Refuse limits on figures that the audit will not have, by the `samples` and `retrieval` of
    its report.

    Raises:
        UserError: there is such a limit.
    """
    documents = head["retrieval"]["documents"]
    for limit in limits:
        if limit.metric in MEASURES and limit.metric not in measured(documents):
            few = f"{documents} documents are too few to tell, it takes {TELLING}"
            raise UserError(f"gate: {limit.name}: {few}")
        asked = [x for x in head["samples"] if limit.tokens in (None, x["tokens"])]
        kinds = [x["kinds"][limit.metric] for x in asked if limit.metric in x["kinds"]]
        if limit.metric in KINDS and not any(kind["whole"] for kind in kinds):
            cut = max((kind["before"] for kind in kinds), default=0)
            why = f"all {cut} are cut off" if cut else "the texts hold none"
            raise UserError(f"gate: {limit.name}: nothing to judge: {why}")


@dataclass(frozen=True)
class Verdict:
    """A limit of a gate, and what was measured."""

    defence: str
    limit: str
    """The metric, with the length of the texts if it is one of leakage."""
    rule: str
    allowed: float
    measured: float
    """The worse end of the 95 % interval."""
    attacker: str | None
    """Who read most; None for retrieval."""
    undefended: float | None
    """The figure of which `allowed` is a share; None for other rules."""
    kept: bool

    def __str__(self) -> str:
        if self.attacker is not None:
            return (
                f"{self.defence}: {self.limit} is up to {self.measured:.4g} "
                f"(attacker: {self.attacker}), limit {self.allowed:g}"
            )
        of = "" if self.undefended is None else f" of {self.undefended:.4g}"
        return (
            f"{self.defence}: {self.limit} is down to {self.measured:.4g}, "
            f"limit {self.allowed:g}{of}"
        )


def judge(limits: Sequence[Limit], report: Report) -> list[Verdict]:
    """Judge every defence, or the plain vectors if there is none, by the worse end of each 95 %
    interval."""
    plain, *defended = report["defences"]
    verdicts = []
    for row in defended or [plain]:
        for limit in limits:
            share = limit.rule == "min_share"
            whole = plain["utility"][limit.metric]["value"] if share else None
            for name, attacker, figure in best_figures(row, limit.metric):
                if limit.tokens is not None and name != limit.name:
                    continue
                low, high = figure["ci95"]
                least = limit.value * (1.0 if whole is None else whole)
                worse, kept = (high, high <= limit.value) if attacker else (low, low >= least)
                facts = (row["defence"], name, limit.rule, limit.value)
                verdicts.append(Verdict(*facts, worse, attacker, whole, kept))
    return verdicts


def lengths_of(row: Report) -> list[int]:
    """The lengths of text that a defence was attacked with, in tokens."""
    return [length["tokens"] for length in row["attackers"][0]["lengths"]]


def strongest(row: Report, tokens: int, metric: str) -> tuple[str, Report] | None:
    """The name of the attacker who does best by a metric on texts of a length, and the figure; None
    if the texts hold nothing of the kind."""
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
    length, or for retrieval a single one without an attacker."""
    if metric not in MEASURES:
        for tokens in lengths_of(row):
            if best := strongest(row, tokens, metric):
                yield f"{metric}@{tokens}", *best
    elif metric in row["utility"]:
        yield metric, None, row["utility"][metric]


def read_report(path: Path) -> dict[str, Any]:
    """Read the report.json of an earlier audit.

    Raises:
        UserError: it cannot be read, is no such report, or jsonschema is not installed.
    """
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
    text = (files("nanov2t.audit") / "report.schema.json").read_text(encoding="utf-8")
    return json.loads(text)


def regressions(report: Report, earlier: Report) -> list[str]:
    """A line for each figure that is worse than its 95 % interval in an earlier report. Defences,
    lengths and kinds that only one report has are not compared."""
    before = {row["defence"]: row for row in earlier["defences"]}
    lines = []
    for row in report["defences"]:
        if (old := before.get(row["defence"])) is None:
            continue
        for metric in (*MEASURES, *SCORES, *KINDS):
            intervals = {name: figure["ci95"] for name, _, figure in best_figures(old, metric)}
            for name, attacker, figure in best_figures(row, metric):
                low, high = intervals.get(name, (-math.inf, math.inf))
                value, said = figure["value"], f"{row['defence']}: {name} is {figure['value']:.4g}"
                if attacker is None and value < low:
                    lines.append(f"{said}, before at least {low:.4g}")
                elif attacker is not None and value > high:
                    lines.append(f"{said} (attacker: {attacker}), before at most {high:.4g}")
    return lines
