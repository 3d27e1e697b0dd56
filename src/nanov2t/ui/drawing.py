"""What the page draws: HTML in which every text of a visitor's is escaped."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from html import escape

import numpy as np

from nanov2t.search.state import Round

STYLE = """
.nv-strip, .nv-curve { width: 100%; display: block; }
.nv-strip { height: 2.5rem; }
.nv-curve { height: 5rem; }
.nv-curve path { fill: none; stroke: currentColor; stroke-width: 2;
  vector-effect: non-scaling-stroke; }
.nv-scroll { overflow-x: auto; }
.nv-rounds { border-collapse: collapse; width: 100%; }
.nv-rounds th, .nv-rounds td { text-align: left; vertical-align: top; padding: .25rem .5rem; }
.nv-rounds td:last-child { min-width: 12rem; overflow-wrap: anywhere; }
.nv-rounds td:not(:last-child) { font-variant-numeric: tabular-nums; white-space: nowrap; }
.nv-right { font-weight: 700; text-decoration: underline; text-underline-offset: .2em; }
[role="tab"][aria-selected="true"] { color: var(--body-text-color) !important; }
.nv-error { border-left: .3rem solid currentColor; padding-left: .75rem; font-weight: 700; }
"""
BLUE, ORANGE = "#2b6cb0", "#c05621"
"""Seen apart also by the colour-blind, on light and on dark ground."""


def strip(vector: np.ndarray) -> str:
    """A vector [dim] as cells, one a number: blue above zero, orange below, pale near it."""
    strength = np.abs(vector) / max(float(np.abs(vector).max()), 1e-12)
    cells = [
        f'<rect x="{i}" width="1" height="1" fill="{BLUE if x > 0 else ORANGE}" '
        f'fill-opacity="{s:.2f}"/>'
        for i, (x, s) in enumerate(zip(vector.tolist(), strength.tolist(), strict=True))
    ]
    said = f"The vector: {len(vector)} numbers, all that the inverter is given"
    return (
        f'<svg class="nv-strip" role="img" aria-label="{said}" preserveAspectRatio="none" '
        f'viewBox="0 0 {len(vector)} 1">{"".join(cells)}</svg>'
    )


def rounds_table(rounds: Sequence[Round], reference: str) -> str:
    """The rounds that brought something new, with the words of `reference` marked."""
    rows = "".join(
        f"<tr><td>{r.round}</td><td>{r.cosine:.4f}</td><td>{r.seconds:.1f}</td>"
        f"<td>{r.embedder_calls}</td><td>{marked(r.text, reference)}</td></tr>"
        for i, r in enumerate(rounds)
        if not i or r.text != rounds[i - 1].text
    )
    heads = "".join(
        f'<th scope="col">{head}</th>'
        for head in ("Round", "Cosine", "Seconds", "Embedded", "Best text so far")
    )
    return (
        '<div class="nv-scroll" tabindex="0" role="region" aria-label="Rounds">'
        f'<table class="nv-rounds"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>'
        "</div>"
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


def curve(rounds: Sequence[Round]) -> str:
    """The cosine by round; its floor is the worst of them."""
    if len(rounds) < 2:
        return ""
    low = min(r.cosine for r in rounds)
    span = max(1 - low, 1e-9)
    places = [
        (100 * i / (len(rounds) - 1), 38 * (1 - r.cosine) / span + 1) for i, r in enumerate(rounds)
    ]
    line = " ".join(f"{'L' if i else 'M'}{x:.1f} {y:.1f}" for i, (x, y) in enumerate(places))
    said = f"Cosine by round, from {rounds[0].cosine:.4f} to {rounds[-1].cosine:.4f}"
    return (
        f"<p>{said}:</p>"
        f'<svg class="nv-curve" role="img" aria-label="{said}" preserveAspectRatio="none" '
        f'viewBox="0 0 100 40"><path d="{line}"/></svg>'
    )


def note(text: str) -> str:
    """A line that a screen reader reads out when it changes."""
    return f'<p role="status">{escape(text)}</p>'


def complaint(text: str) -> str:
    """What the visitor can mend."""
    return f'<p role="alert" class="nv-error">{escape(text)}</p>'
