"""Write a report: report.json for programs, and report.html, one page that loads nothing. The
templates draw its charts and tables."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import unicodedata
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from nanov2t.audit.content import KINDS
from nanov2t.audit.figures import MEASURES, SCORES, left_out
from nanov2t.audit.judging import Report, lengths_of, strongest
from nanov2t.audit.membership import RATES
from nanov2t.audit.sarif import sarif
from nanov2t.core.errors import UserError
from nanov2t.core.files import make_folder, write_whole
from nanov2t.evaluation.metrics import word_diff

INVISIBLE = ("Cc", "Cf", "Zl", "Zp")
"""Unicode categories of invisible characters, which can change lines or their direction."""
TITLES = dict(zip(MEASURES, ("nDCG@10", "recall@10", "top 10 kept"), strict=True))
LEFT, RIGHT = 54, 394
"""The first and the last place of a chart's marks, in its units."""
APART = 6
"""Distance between marks of one length, so that none hides another."""
SHAPES = 8
"""Shapes of marks, each with its own colour and dashes. More defences share them."""


def write_report(out: Path, report: Report, command: str) -> Path:
    """Write a report with its gate and regressions to a folder, and return the path of the page.
    `command` is what made it. A UserError if the folder cannot be written."""
    make_folder(out)
    _write(out / "report.json", json.dumps(report, indent=1) + "\n")
    return _write(out / "report.html", page(report, command))


def write_sarif(path: Path, report: Report, gate: Path) -> None:
    """Write the broken limits of a report; a UserError if the file cannot be written."""
    _write(path, json.dumps(sarif(report, gate), indent=1) + "\n")


def _write(path: Path, content: str) -> Path:
    try:
        write_whole(path, content.encode())
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from None
    return path


def page(report: Report, command: str) -> str:
    """The report as HTML. All texts are escaped, and a policy stops the browser from running
    anything but the page's own script."""
    environment = Environment(
        loader=PackageLoader("nanov2t.audit"),
        autoescape=True,
        finalize=visible,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates = files("nanov2t.audit") / "templates"
    style, script = ((templates / x).read_text(encoding="utf-8") for x in ("style.css", "sort.js"))
    policy = f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}"
    shown = (trade, by_length, lengths_of, strongest, left_out, word_diff)
    environment.globals |= {function.__name__: function for function in shown}
    means = {"KINDS": KINDS, "SCORES": SCORES, "TITLES": TITLES, "SHAPES": SHAPES, "RATES": RATES}
    means |= {"style": style, "script": script, "policy": policy}
    return environment.get_template("report.html").render(means, report=report, command=command)


def _hash(content: str) -> str:
    """The hash by which a Content-Security-Policy allows a style or script."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def visible(value: Any) -> Any:
    """A text with every invisible character replaced by its code. HTML and other values pass."""
    if type(value) is not str:
        return value
    return "".join(
        f"(U+{ord(c):04X})" if unicodedata.category(c) in INVISIBLE else c for c in value
    )


def trade(rows: Sequence[Report], tokens: int) -> dict[str, Any]:
    """The chart of what the best attackers read of texts of a length, against the quality of
    search."""
    quality = [row["utility"][MEASURES[0]]["value"] for row in rows]
    first = math.floor(10 * min(quality))
    last = max(math.ceil(10 * max(quality)), first + 1)
    marks = []
    families: dict[str, list[Any]] = {}  # a name with all its parameters
    for i, (row, value) in enumerate(zip(rows, quality, strict=True)):
        mark = _mark(rows, i, tokens, "token_f1", _across(10 * value, first, last))
        mark["title"] += f"; nDCG@10 {value:.3f}"
        marks.append(mark)
        families.setdefault(row["defence"].partition(":")[0], []).append(mark)
    return {
        "title": f"Texts of {tokens} tokens",
        "x_title": "quality of search (nDCG@10) →",
        "y_title": "words read, F1",
        "x_ticks": [(_across(x, first, last), f"{x / 10:.1f}") for x in range(first, last + 1)],
        "marks": marks,
        "lines": [own for own in families.values() if len(own) > 1],
        "control": rows[0]["attackers"][0]["lengths"][lengths_of(rows[0]).index(tokens)]["control"],
    }


def by_length(rows: Sequence[Report], metric: str, title: str) -> dict[str, Any]:
    """The chart of what the best attacker of each defence reads, by length."""
    lengths = lengths_of(rows[0])
    places = [_across(j, 0, max(1, len(lengths) - 1)) for j in range(len(lengths))]
    lines = []
    for i in range(len(rows)):
        aside = (i - (len(rows) - 1) / 2) * min(APART, 4 * APART / len(rows))
        pairs = zip(lengths, places, strict=True)
        lines.append([_mark(rows, i, tokens, metric, x + aside) for tokens, x in pairs])
    return {
        "title": title,
        "x_title": "tokens of a text",
        "y_title": "%",
        "x_ticks": list(zip(places, lengths, strict=True)),
        "marks": [mark for line in lines for mark in line],
        "lines": lines,
    }


def _across(value: float, low: float, high: float) -> float:
    return LEFT + (value - low) / (high - low) * (RIGHT - LEFT)


def _mark(rows: Sequence[Report], i: int, tokens: int, metric: str, x: float) -> dict[str, Any]:
    """A figure, with its 95 % interval from `low` to `high`."""
    name, figure = strongest(rows[i], tokens, metric) or ("", {})
    value, (low, high) = figure["value"], figure["ci95"]
    spec = "no defence" if rows[i]["defence"] == "none" else rows[i]["defence"]
    title = f"{spec}, {tokens} tokens: {value:.1f} ({low:.1f} to {high:.1f}), attacker {name}"
    return {"x": x, "y": value, "low": low, "high": high, "shape": i % SHAPES, "title": title}
