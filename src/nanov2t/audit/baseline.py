"""A report beside an earlier one: what has become worse."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from nanov2t.audit.judging import strongest
from nanov2t.audit.kinds import KINDS
from nanov2t.audit.leakage import SCORES
from nanov2t.audit.utility import MEASURES
from nanov2t.core.errors import UserError, first_line
from nanov2t.stores.base import import_client

SCHEMA = 3
"""Version of the report's form; it grows when a key changes its meaning or goes."""


def read_report(path: Path) -> dict[str, Any]:
    """An earlier audit's report.json.

    Raises:
        UserError: it cannot be read, is of another form, or jsonschema is not installed.
    """
    jsonschema = import_client("jsonschema", "audit")
    try:
        report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        jsonschema.validate(report, form())
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {first_line(error)}") from None
    except jsonschema.ValidationError as error:
        wrong = f"{error.json_path}: {first_line(error)}"
        raise UserError(f"{path}: is no report of an audit, of form {SCHEMA}: {wrong}") from None
    return report


def form() -> Any:
    """The JSON Schema of report.json."""
    text = (files("nanov2t.audit") / "report.schema.json").read_text(encoding="utf-8")
    return json.loads(text)


def regressions(report: Mapping[str, Any], earlier: Mapping[str, Any]) -> list[str]:
    """A line for each figure that is worse than its 95 % interval in an earlier report. What only
    one of them has, be it a defence, a length or a kind, is not compared."""
    before = {row["defence"]: row for row in earlier["defences"]}
    lines = []
    for row in report["defences"]:
        old = before.get(row["defence"])
        if old is None:
            continue
        for name in (x for x in MEASURES if x in row["utility"] and x in old["utility"]):
            value, low = row["utility"][name]["value"], old["utility"][name]["ci95"][0]
            if value < low:
                lines.append(f"{row['defence']}: {name} is {value:.4g}, before at least {low:.4g}")
        for tokens in (length["tokens"] for length in row["attackers"][0]["lengths"]):
            for metric in (*SCORES, *KINDS):
                ours, theirs = strongest(row, tokens, metric), strongest(old, tokens, metric)
                if ours and theirs and ours[1]["value"] > (high := theirs[1]["ci95"][1]):
                    lines.append(
                        f"{row['defence']}: {metric}@{tokens} is {ours[1]['value']:.4g} "
                        f"(attacker: {ours[0]}), before at most {high:.4g}"
                    )
    return lines
