"""A defence is judged by its best attacker, and a gate by limits on what that one reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from nanov2t.audit.kinds import KINDS
from nanov2t.audit.leakage import SCORES
from nanov2t.audit.utility import MEASURES, TELLING, measured
from nanov2t.core.errors import UserError, one_line


@dataclass(frozen=True)
class Limit:
    """A line of a gate."""

    metric: str
    """One of SCORES, KINDS or MEASURES."""
    tokens: int | None
    """The length of the texts; None: every length that was audited."""
    rule: str
    """`max`, `min`, or `min_share`: of the undefended figure."""
    value: float

    @property
    def name(self) -> str:
        return self.metric if self.tokens is None else f"{self.metric}@{self.tokens}"


def read_gate(path: Path, lengths: Sequence[int]) -> list[Limit]:
    """The limits of a YAML file, such as `exact_match@16: {max: 5}`, `names: {max: 10}` or
    `ndcg@10: {min_share: 0.97}`.

    Args:
        lengths: that are audited.

    Raises:
        UserError: it cannot be read, or holds a limit that cannot be judged.
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
        for rule, value in rules.items():
            allowed = ("min", "min_share") if metric in MEASURES else ("max",)
            if rule not in allowed:
                raise UserError(f"{path}: {name}: no limit {rule}, only {', '.join(allowed)}")
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise UserError(f"{path}: {name}: {rule} is no number: {value}")
            low, high = _scale(metric)
            if not low <= value <= high:
                scale = f"{metric} runs from {low} to {high}"
                raise UserError(f"{path}: {name}: {rule} is {value:g}, but {scale}")
            limits.append(Limit(metric, tokens, rule, float(value)))
    return limits


def refuse_untold(limits: Sequence[Limit], head: Mapping[str, Any]) -> None:
    """Refuse limits on figures that an audit will not have.

    Args:
        head: of the report: its `samples` and `retrieval`.

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


def _scale(metric: str) -> tuple[int, int]:
    """The ends of a figure's scale; shares of it run from 0 to 1, as do the figures that have
    them."""
    if metric == "cosine":
        return -1, 1
    return (0, 1) if metric in MEASURES else (0, 100)


def _metric(path: Path, name: str, lengths: Sequence[int]) -> tuple[str, int | None]:
    """What a gate's key means."""
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


@dataclass(frozen=True)
class Verdict:
    """A limit of a gate against what was measured."""

    defence: str
    limit: str
    """The figure, with the length of the texts where it is one of leakage."""
    rule: str
    allowed: float
    measured: float
    """The worse end of the 95 % interval."""
    attacker: str | None
    """Who read most; None of retrieval."""
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


def judge(limits: Sequence[Limit], report: Mapping[str, Any]) -> list[Verdict]:
    """A verdict for each limit. The figures are those of every defence or, where none was audited,
    of the plain vectors; and of a figure's 95 % interval the worse end counts."""
    plain, *defended = report["defences"]
    return [
        verdict
        for row in defended or [plain]
        for limit in limits
        for verdict in (
            [_utility(limit, row, plain)] if limit.metric in MEASURES else _leakage(limit, row)
        )
    ]


def _leakage(limit: Limit, row: Mapping[str, Any]) -> list[Verdict]:
    lengths = [x["tokens"] for x in row["attackers"][0]["lengths"]]
    asked = [n for n in lengths if limit.tokens in (None, n)]
    found = [(n, *best) for n in asked if (best := strongest(row, n, limit.metric))]
    verdicts = []
    for tokens, attacker, figure in found:
        high, name = figure["ci95"][1], f"{limit.metric}@{tokens}"
        kept = high <= limit.value
        verdicts.append(
            Verdict(row["defence"], name, limit.rule, limit.value, high, attacker, None, kept)
        )
    return verdicts


def _utility(limit: Limit, row: Mapping[str, Any], plain: Mapping[str, Any]) -> Verdict:
    low = row["utility"][limit.metric]["ci95"][0]
    whole = plain["utility"][limit.metric]["value"] if limit.rule == "min_share" else None
    kept = low >= limit.value * (1.0 if whole is None else whole)
    return Verdict(row["defence"], limit.metric, limit.rule, limit.value, low, None, whole, kept)


def strongest(
    row: Mapping[str, Any], tokens: int, metric: str
) -> tuple[str, Mapping[str, Any]] | None:
    """The attacker of a defence who does best by a metric on texts of a length, and that figure;
    None where the texts hold nothing of the kind."""
    figures = [
        (attacker["name"], length[metric] if metric in SCORES else length["kinds"].get(metric))
        for attacker in row["attackers"]
        for length in attacker["lengths"]
        if length["tokens"] == tokens
    ]
    known = [(name, figure) for name, figure in figures if figure is not None]
    return max(known, key=lambda item: item[1]["value"], default=None)
