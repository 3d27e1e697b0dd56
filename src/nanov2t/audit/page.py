"""The report as a page: one HTML file that asks for nothing from elsewhere."""

from __future__ import annotations

import base64
import difflib
import hashlib
import unicodedata
from collections.abc import Mapping, Sequence
from importlib.resources import files
from itertools import groupby
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from nanov2t.audit import charts
from nanov2t.audit.judging import strongest
from nanov2t.audit.kinds import KINDS
from nanov2t.audit.leakage import SCORES, left_out
from nanov2t.audit.utility import MEASURES

INVISIBLE = ("Cc", "Cf", "Zl", "Zp")
"""Categories of characters that change lines or their direction without being seen."""
TITLES = dict(zip(MEASURES, ("nDCG@10", "recall@10", "top 10 kept"), strict=True))
Report = Mapping[str, Any]


def page(report: Report, command: str) -> str:
    """The page. Every text is escaped, and what would change the direction of a line is named by
    its code; the page's own policy lets the browser run its one script and nothing else.

    Args:
        report: of :func:`nanov2t.audit.run.audit`.
        command: that makes it again.

    """
    environment = Environment(
        loader=PackageLoader("nanov2t.audit"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["interval"] = interval
    report = visible(report)
    rows = report["defences"]
    lengths = [x["tokens"] for x in rows[0]["attackers"][0]["lengths"]]
    style, script = (_part(name) for name in ("style.css", "sort.js"))
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
            charts.by_length(rows, "exact_match", "Texts read out word for word"),
            charts.by_length(rows, "token_f1", "Words read out, F1"),
        ],
        shapes=charts.shapes(rows),
        worst=worst(rows),
        strongest=strongest,
        kept=kept,
        left_out=left_out(report),
        KINDS=KINDS,
        MEASURES={name: TITLES[name] for name in rows[0]["utility"]},
        SCORES=SCORES,
    )


def _part(name: str) -> str:
    return (files("nanov2t.audit") / "templates" / name).read_text(encoding="utf-8")


def _hash(content: str) -> str:
    """As a policy names what may stand on a page."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def interval(figure: Mapping[str, Any], digits: int = 1) -> str:
    """A figure and its 95 % interval."""
    value, (low, high) = figure["value"], figure["ci95"]
    return f"{value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def kept(row: Report, undefended: Report) -> float:
    """The share of the undefended nDCG@10 that a defence leaves, 0 to 100."""
    ours, theirs = (x["utility"][MEASURES[0]]["value"] for x in (row, undefended))
    return 100.0 * ours / theirs if theirs else 100.0


def visible(value: Any) -> Any:
    """A value all of whose texts show every character they have, so that none moves the others."""
    if isinstance(value, Mapping):
        return {name: visible(part) for name, part in value.items()}
    if isinstance(value, list):
        return [visible(part) for part in value]
    if not isinstance(value, str):
        return value
    return "".join(
        f"(U+{ord(c):04X})" if unicodedata.category(c) in INVISIBLE else c for c in value
    )


def worst(rows: Sequence[Report]) -> list[dict[str, Any]]:
    """Of each defence and length the records that its best attacker read out best."""
    found = []
    for row in rows:
        for x in row["attackers"][0]["lengths"]:
            name, _ = strongest(row, x["tokens"], "token_f1") or ("", {})
            [attacker] = [a for a in row["attackers"] if a["name"] == name]
            [length] = [y for y in attacker["lengths"] if y["tokens"] == x["tokens"]]
            records = [
                record | {"diff": diff(record["text"], record["found"])}
                for record in length["worst"]
            ]
            common = {"defence": row["defence"], "attacker": name, "tokens": x["tokens"]}
            found += [common | record for record in records]
    return found


def diff(text: str, found: str) -> dict[str, list[tuple[bool, str]]]:
    """The runs of words of a text and of what was read out of its vector, and whether each run
    stands in both, in the same order."""
    theirs, ours = text.split(), found.split()
    same = difflib.SequenceMatcher(None, theirs, ours, autojunk=False).get_matching_blocks()
    right = {block.a + i for block in same for i in range(block.size)}
    known = {block.b + i for block in same for i in range(block.size)}
    return {"text": _runs(theirs, right), "found": _runs(ours, known)}


def _runs(words: Sequence[str], right: set[int]) -> list[tuple[bool, str]]:
    return [
        (kind, " ".join(words[i] for i in places))
        for kind, places in groupby(range(len(words)), key=lambda i: i in right)
    ]
