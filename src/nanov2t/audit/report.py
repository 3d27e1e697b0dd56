"""The report of an audit: report.json for programs, report.md to read and hand on."""

from __future__ import annotations

import difflib
import html
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nanov2t.audit.judging import strongest
from nanov2t.audit.kinds import KINDS
from nanov2t.audit.leakage import SCORES
from nanov2t.audit.utility import MEASURES
from nanov2t.core.errors import UserError
from nanov2t.core.files import write_whole

MARKUP = re.compile(r"[|*_`\[\]\\~]")
LIMITS = """## What was not measured

- The figures are a lower bound: another inverter, or a longer search, may read more.
- Nobody trained an inverter on the defended vectors.
- Names in other languages than English, or in lower case, are not recognised.
- A text's first half had to find its second half; real queries may fare otherwise.
"""


def write_report(out: Path, report: Mapping[str, Any], command: str) -> None:
    """Write report.json and report.md into a folder.

    Args:
        report: of :func:`nanov2t.audit.run.audit`.
        command: that makes it again.

    Raises:
        UserError: they cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_whole(out / "report.json", (json.dumps(report, indent=1) + "\n").encode())
        write_whole(out / "report.md", markdown(report, command).encode())
    except OSError as error:
        raise UserError(f"{out}: {error.strerror}") from None


def markdown(report: Mapping[str, Any], command: str) -> str:
    """The report as Markdown. Texts are escaped; what would change the direction of a line is
    named by its code."""
    rows = report["defences"]
    parts = [
        f"# Audit of {plain(report['embedder']['name'])}",
        *[_sentence(row, rows[0]) for row in rows],
        "In brackets: 95 % intervals, by Wilson for exact match and the shares of kinds, by "
        "bootstrap for the others. Exact match, BLEU, token F1 and shares of kinds run from 0 to "
        "100.",
        "## Leakage by attacker and length",
        _attacks(rows),
        "## Content read out whole",
        "By the attacker who reads most of it; behind the slash the control, in which each text is "
        "compared with what was read out of another's vector.",
        _kinds(rows),
        "## Retrieval",
        "The first half of each text has to find its second half among all second halves; overlap "
        "is the share of the ten best that stay.",
        _retrieval(rows),
        "## Records read out best",
        "Words that are right are in bold.",
        _worst(rows),
        LIMITS,
        "## To repeat",
        f"    {' '.join(command.split())}",
        _means(report),
    ]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _sentence(row: Mapping[str, Any], undefended: Mapping[str, Any]) -> str:
    """A defence in plain words."""
    read = []
    for length in row["attackers"][0]["lengths"]:
        attacker, figure = strongest(row, length["tokens"], "exact_match") or ("", {})
        by = f" (by the attacker {attacker})" if figure["value"] and row is not undefended else ""
        read.append(f"{interval(figure)} % of texts of {length['tokens']} tokens{by}")
    said = f"word for word came back {'; '.join(read)}."
    if row is undefended:
        return f"**Without a defence** {said}"
    ours, theirs = (x["utility"][MEASURES[0]]["value"] for x in (row, undefended))
    return (
        f"**With {plain(row['defence'])}** {said} Retrieval has an nDCG@10 of {ours:.3f}, "
        f"without the defence {theirs:.3f}."
    )


def _attacks(rows: Sequence[Mapping[str, Any]]) -> str:
    head = ["defence", "attacker", "tokens", "n", "exact match", "BLEU", "token F1", "cosine"]
    head += ["control: token F1", "seconds", "embedder calls"]
    return table(
        head,
        (
            [plain(row["defence"]), plain(attacker["name"]), str(x["tokens"]), str(x["n"])]
            + [interval(x[name], digits=4 if name == "cosine" else 1) for name in SCORES]
            + [interval(x["control"]["token_f1"]), f"{x['seconds']:.0f}"]
            + [f"{x['embedder_calls']:,}"]
            for row in rows
            for attacker in row["attackers"]
            for x in attacker["lengths"]
        ),
    )


def _kinds(rows: Sequence[Mapping[str, Any]]) -> str:
    cells = []
    for row in rows:
        for x in row["attackers"][0]["lengths"]:
            line = [plain(row["defence"]), str(x["tokens"])]
            for kind in KINDS:
                best = strongest(row, x["tokens"], kind)
                by_chance = x["control"]["kinds"].get(kind)
                if best is None:
                    line.append("none")
                else:
                    line.append(f"{interval(best[1])} / {by_chance['value']:.1f}")
            cells.append(line)
    return table(["defence", "tokens", *KINDS], cells)


def _retrieval(rows: Sequence[Mapping[str, Any]]) -> str:
    return table(
        ["defence", "n", *MEASURES],
        (
            [plain(row["defence"]), str(row["utility"]["n"])]
            + [interval(row["utility"][name], digits=3) for name in MEASURES]
            for row in rows
        ),
    )


def _worst(rows: Sequence[Mapping[str, Any]]) -> str:
    cells = []
    for row in rows:
        for x in row["attackers"][0]["lengths"]:
            name, _ = strongest(row, x["tokens"], "token_f1") or ("", {})
            [attacker] = [a for a in row["attackers"] if a["name"] == name]
            [length] = [y for y in attacker["lengths"] if y["tokens"] == x["tokens"]]
            for record in length["worst"]:
                text, found = record["text"], record["found"]
                cells.append([plain(row["defence"]), plain(name), plain(text)])
                cells[-1] += [marked(text, found), f"{record['cosine']:.4f}"]
    if not cells:
        return "Withheld."
    return table(["defence", "attacker", "text", "read out", "cosine"], cells)


def _means(report: Mapping[str, Any]) -> str:
    embedder, inverter = report["embedder"], report["inverter"]
    marks = [f"{plain(r['defence'])} {r['fingerprint']}" for r in report["defences"][1:]]
    facts = {
        "embedder": f"{plain(embedder['name'])}, fingerprint {embedder['fingerprint']}",
        "inverter": f"fingerprint {inverter['fingerprint']}, effort {inverter['effort']}",
        "texts": str(report["texts"]),
        "public texts": str(report["public_texts"]),
        "defences": ", ".join(marks) or "none",
        "seed": str(report["seed"]),
        "form of report.json": str(report["schema"]),
    }
    return table(["", ""], ([name, fact] for name, fact in facts.items()))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def interval(figure: Mapping[str, Any], digits: int = 1) -> str:
    value, (low, high) = figure["value"], figure["ci95"]
    return f"{value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def plain(text: str) -> str:
    """A text that neither Markdown nor HTML takes for its own."""
    shown = "".join(
        f"(U+{ord(c):04X})" if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp") else c
        for c in text
    )
    return MARKUP.sub(lambda found: f"&#{ord(found[0])};", html.escape(shown))


def marked(text: str, found: str) -> str:
    """What was read out, its words that stand in the text in the same order in bold."""
    words = found.split()
    same = difflib.SequenceMatcher(None, text.split(), words, autojunk=False)
    right = {block.b + i for block in same.get_matching_blocks() for i in range(block.size)}
    return " ".join(
        f"**{plain(word)}**" if i in right else plain(word) for i, word in enumerate(words)
    )
