"""Write a report: report.json for programs, and report.html, one page that loads nothing."""

from __future__ import annotations

import base64
import hashlib
import json
import unicodedata
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from nanov2t.audit import charts
from nanov2t.audit.content import KINDS
from nanov2t.audit.judging import Report, lengths_of, strongest
from nanov2t.audit.leakage import SCORES, left_out
from nanov2t.audit.retrieval import MEASURES
from nanov2t.core.errors import UserError
from nanov2t.core.files import write_whole
from nanov2t.evaluation.metrics import common_runs

INVISIBLE = ("Cc", "Cf", "Zl", "Zp")
"""Unicode categories of invisible characters, which can change lines or their direction."""
TITLES = dict(zip(MEASURES, ("nDCG@10", "recall@10", "top 10 kept"), strict=True))


def write_report(out: Path, report: Report, command: str) -> Path:
    """Write a report with its gate and regressions to a folder. `command` is what made it.

    Returns:
        The path of the page.

    Raises:
        UserError: the folder cannot be written.
    """
    shown = out / "report.html"
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_whole(out / "report.json", (json.dumps(report, indent=1) + "\n").encode())
        write_whole(shown, page(report, command).encode())
    except OSError as error:
        raise UserError(f"{out}: {error.strerror}") from None
    return shown


def page(report: Report, command: str) -> str:
    """The report as HTML. All texts are escaped, and a policy stops the browser from running
    anything but the page's own script."""
    environment = Environment(
        loader=PackageLoader("nanov2t.audit"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    report = visible(report)
    rows = report["defences"]
    lengths = lengths_of(rows[0])
    style, script = (
        (files("nanov2t.audit") / "templates" / name).read_text(encoding="utf-8")
        for name in ("style.css", "sort.js")
    )
    return environment.get_template("report.html").render(
        report=report,
        rows=rows,
        lengths=lengths,
        command=visible(command),
        style=style,
        script=script,
        policy=f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}",
        trades=[charts.trade(rows, tokens) for tokens in lengths],
        by_length=[
            charts.by_length(rows, "exact_match", "Texts read word for word"),
            charts.by_length(rows, "token_f1", "Words read, F1"),
        ],
        shapes=charts.shapes(rows),
        worst=_worst(rows),
        strongest=strongest,
        kept=_kept,
        left_out=left_out(report),
        KINDS=KINDS,
        MEASURES={name: TITLES[name] for name in rows[0]["utility"]},
        SCORES=SCORES,
    )


def _hash(content: str) -> str:
    """The hash by which a Content-Security-Policy allows a style or script."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def _kept(row: Report, undefended: Report) -> float:
    """The share of the undefended nDCG@10 that a defence leaves, from 0 to 100."""
    ours, theirs = (x["utility"][MEASURES[0]]["value"] for x in (row, undefended))
    return 100.0 * ours / theirs if theirs else 100.0


def visible(value: Any) -> Any:
    """A copy of a JSON value with every invisible character replaced by its code."""
    if isinstance(value, dict):
        return {name: visible(part) for name, part in value.items()}
    if isinstance(value, list):
        return [visible(part) for part in value]
    if not isinstance(value, str):
        return value
    return "".join(
        f"(U+{ord(c):04X})" if unicodedata.category(c) in INVISIBLE else c for c in value
    )


def _worst(rows: Sequence[Report]) -> list[dict[str, Any]]:
    """For each defence and length, the texts that its best attacker read best."""
    found = []
    for row in rows:
        for i, tokens in enumerate(lengths_of(row)):
            name, _ = strongest(row, tokens, "token_f1") or ("", {})
            [lengths] = [a["lengths"] for a in row["attackers"] if a["name"] == name]
            common = {"defence": row["defence"], "attacker": name, "tokens": tokens}
            for record in lengths[i]["worst"]:
                runs = common_runs(record["text"], record["found"])
                found.append(common | record | {"runs": runs})
    return found
