"""What the page draws: HTML in which every text of a visitor's is escaped.

style.css has its look.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from nanov2t.search.state import Inversion, Round

STYLE = Path(__file__).with_name("style.css").read_text(encoding="utf-8")
ENDS = {
    "exact": "Exact",
    "converged": "Nothing better found",
    "rounds": "All rounds used",
    "budget": "Budget used",
}


def strip(vector: np.ndarray) -> str:
    """A vector [dim] as cells, one a number: one colour above zero, one below, pale near it."""
    strength = np.abs(vector) / max(float(np.abs(vector).max()), 1e-12)
    alike: dict[str, list[str]] = {}  # one path a shade is lighter for browsers than one a cell
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
    """The cosine by round, and the rounds that brought something new, with the words of `reference`
    marked."""
    rows = [
        (
            str(r.round),
            f"{r.cosine:.4f}",
            marked(r.text, reference),
            f"{r.seconds:.1f}",
            f"{r.embedder_calls:,}",
        )
        for i, r in enumerate(rounds)
        if not i or r.text != rounds[i - 1].text
    ]
    heads = ("Round", "Cosine", "Best text so far", "Seconds", "Embedded")
    return curve(rounds) + table("Rounds", heads, rows)


def rows_drawn(rows: Sequence[dict[str, Any]]) -> str:
    """Rows of vectors that were inverted, by the columns of :mod:`nanov2t.bulk.table`."""
    cells = [
        (escape(str(row["id"])), "", escape(row["error"]), "", "")
        if row["error"]
        else (
            escape(str(row["id"])),
            f"{row['cosine']:.4f}",
            escape(row["inverted"]),
            ENDS[row["stopped"]],
            f"{row['embedder_calls']:,}",
        )
        for row in rows
    ]
    return table("Rows", ("Row", "Cosine", "Text", "End", "Embedded"), cells)


def table(name: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells of HTML, the third of which are texts; it scrolls where it is too wide."""
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
    """A text whose words that `reference` has at the same turn are bold and underlined."""
    words = text.split()
    matcher = difflib.SequenceMatcher(None, reference.split(), words, autojunk=False)
    right = {
        i for block in matcher.get_matching_blocks() for i in range(block.b, block.b + block.size)
    }
    return " ".join(
        f'<span class="nv-right">{escape(word)}</span>' if i in right else escape(word)
        for i, word in enumerate(words)
    )


def verdict(found: Inversion, reference: str, remark: str = "") -> str:
    """What was found, and what it took."""
    facts = (
        f"{remark}{ENDS[found.stopped]}. Cosine {found.cosine:.6f}, "
        f"{found.rounds[-1].seconds:.1f} seconds, {found.embedder_calls} texts embedded. "
        "Words that are right are bold and underlined."
    )
    return f'<p class="nv-found">{marked(found.text, reference)}</p>{note(facts)}'


def curve(rounds: Sequence[Round]) -> str:
    """The cosine by round; its floor is the worst of them."""
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


def titled(title: str, content: str) -> str:
    """HTML under a heading."""
    return f'<h2 class="nv-title">{escape(title)}</h2>{content}'


def progress(done: int, count: int, text: str) -> str:
    """How much of a long work is done."""
    return (
        f'<div class="nv-progress" role="progressbar" aria-label="Rows done" aria-valuemin="0" '
        f'aria-valuemax="{count}" aria-valuenow="{done}">'
        f'<div style="width: {done / count:.1%}"></div></div>{note(text)}'
    )


def download(name: str, kind: str, content: str) -> str:
    """A link that saves a file out of the page itself: the server keeps none.

    Args:
        kind: its media type.
        content: in base64.
    """
    href = f"data:{kind};base64,{content}"
    return f'<a class="nv-download" download="{name}" href="{href}">Download {name}</a>'


def note(text: str) -> str:
    """A line that a screen reader reads out when it changes."""
    return f'<p role="status">{escape(text)}</p>'


def complaint(text: str) -> str:
    """What the visitor can mend."""
    return f'<p role="alert" class="nv-error">{escape(text)}</p>'
