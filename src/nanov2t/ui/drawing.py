"""The HTML of the page, styled by style.css. Every text of a visitor is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from nanov2t.evaluation.metrics import common_runs
from nanov2t.search.state import Inversion, Round

STYLE = Path(__file__).with_name("style.css").read_text(encoding="utf-8")
ENDS = {
    "exact": "Exact",
    "converged": "Nothing better found",
    "rounds": "All rounds used",
    "budget": "Budget used",
}


def strip(vector: np.ndarray) -> str:
    """A vector [dim] as a strip of cells: one colour above zero, one below, pale near zero."""
    strength = np.abs(vector) / max(float(np.abs(vector).max()), 1e-12)
    alike: dict[str, list[str]] = {}  # a path for each shade: lighter than one for each cell
    for i, (x, s) in enumerate(zip(vector.tolist(), strength.tolist(), strict=True)):
        shade = f'class="nv-{"above" if x > 0 else "below"}" fill-opacity="{s:.1f}"'
        alike.setdefault(shade, []).append(f"M{i} 0h1v1h-1z")
    cells = [f'<path {shade} d="{"".join(places)}"/>' for shade, places in alike.items()]
    said = f"The vector: {len(vector)} numbers, all that the inverter is given"
    return (
        f'<figure class="nv-figure"><figcaption>{said}</figcaption>'
        f'<svg class="nv-strip" role="img" aria-label="{said}" preserveAspectRatio="none" '
        f'viewBox="0 0 {len(vector)} 1">{"".join(cells)}</svg></figure>'
    )


def rounds_drawn(rounds: Sequence[Round], reference: str) -> str:
    """The curve of the cosine and the rounds that found a new text. Words that `reference` holds
    are marked."""
    rows = []
    for i, r in enumerate(rounds):
        if not i or r.text != rounds[i - 1].text:
            facts = (f"{r.seconds:.1f}", f"{r.embedder_calls:,}")
            rows.append((str(r.round), f"{r.cosine:.4f}", marked(r.text, reference), *facts))
    heads = ("Round", "Cosine", "Best text so far", "Seconds", "Embedded")
    return curve(rounds) + table("Rounds", heads, rows)


def rows_drawn(rows: Sequence[dict[str, Any]]) -> str:
    """Inverted rows with the columns of :mod:`nanov2t.bulk.table`."""
    cells = []
    for row in rows:
        name = escape(str(row["id"]))
        if row["error"]:
            cells.append((name, "", escape(row["error"]), "", ""))
        else:
            facts = (ENDS[row["stopped"]], f"{row['embedder_calls']:,}")
            cells.append((name, f"{row['cosine']:.4f}", escape(row["inverted"]), *facts))
    return table("Rows", ("Row", "Cosine", "Text", "End", "Embedded"), cells)


def table(name: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table that scrolls if it is too wide. Cells are HTML; the third column holds texts."""
    head = "".join(f'<th scope="col">{head}</th>' for head in heads)
    body = "".join(
        "<tr>"
        + "".join(f'<td class="nv-text">{c}</td>' if i == 2 else f"<td>{c}</td>" for i, c in cells)
        + "</tr>"
        for cells in map(enumerate, rows)
    )
    return (
        f'<div class="nv-scroll" tabindex="0" role="region" aria-label="{name}">'
        f'<table class="nv-table"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def marked(text: str, reference: str) -> str:
    """A text, with the words marked that `reference` has in the same order."""
    return " ".join(
        f'<span class="nv-right">{escape(words)}</span>' if right else escape(words)
        for right, words in common_runs(reference, text)[1]
    )


def verdict(found: Inversion, reference: str, remark: str = "") -> str:
    """The text found, and what it took."""
    facts = (
        f"{remark}{ENDS[found.stopped]}. Cosine {found.cosine:.6f}, "
        f"{found.rounds[-1].seconds:.1f} seconds, {found.embedder_calls} texts embedded. "
        "Right words are bold and underlined."
    )
    return f'<p class="nv-found">{marked(found.text, reference)}</p>{note(facts)}'


def curve(rounds: Sequence[Round]) -> str:
    """The cosine by round, from the lowest up to 1. Empty for a single round."""
    if len(rounds) < 2:
        return ""
    low = min(r.cosine for r in rounds)
    span = max(1 - low, 1e-9)
    places = [
        (100 * i / (len(rounds) - 1), 37 * (1 - r.cosine) / span + 2) for i, r in enumerate(rounds)
    ]
    line = " ".join(f"{'L' if i else 'M'}{x:.1f} {y:.1f}" for i, (x, y) in enumerate(places))
    said = f"Cosine by round, from {rounds[0].cosine:.4f} to {rounds[-1].cosine:.4f}"
    return (
        f'<figure class="nv-figure"><figcaption>{said}; the dashes are 1</figcaption>'
        f'<svg class="nv-curve" role="img" aria-label="{said}" preserveAspectRatio="none" '
        f'viewBox="0 0 100 40"><path class="nv-one" d="M0 2 H100"/>'
        f'<path class="nv-area" d="{line} V40 H0 Z"/><path d="{line}"/></svg></figure>'
    )


def progress(done: int, count: int, text: str) -> str:
    """A progress bar above a line of text."""
    return (
        f'<div class="nv-progress" role="progressbar" aria-label="Rows done" aria-valuemin="0" '
        f'aria-valuemax="{count}" aria-valuenow="{done}">'
        f'<div style="width: {done / count:.1%}"></div></div>{note(text)}'
    )


def download(name: str, kind: str, content: str) -> str:
    """A link to a file inside the page, so that the server keeps none. `kind` is the media type,
    and `content` is in base64."""
    href = f"data:{kind};base64,{content}"
    return f'<a class="nv-download" download="{name}" href="{href}">Download {name}</a>'


def note(text: str) -> str:
    """A line that screen readers read out when it changes."""
    return f'<p role="status">{escape(text)}</p>'


def complaint(text: str) -> str:
    """An error that the visitor can correct."""
    return f'<p role="alert" class="nv-error">{escape(text)}</p>'
