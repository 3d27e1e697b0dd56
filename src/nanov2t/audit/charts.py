"""The charts of a report: where each mark, line and label goes. chart.html draws them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nanov2t.audit.judging import lengths_of, strongest
from nanov2t.audit.retrieval import MEASURES

WIDTH, HEIGHT = 420, 300
LEFT, TOP, BOTTOM = 40, 14, HEIGHT - 46
"""The area of the marks, in the units of the chart."""
LETTER, LINE = 6.4, 13
"""Width of a letter and height of a line of the labels."""
LONGEST = 14
"""Letters of a label; a mark's title has the full name."""
APART = 6
"""Distance between marks of one length, so that none hides another."""
SHAPES = 8
"""Shapes of marks, each with its own colour and dashes. More families of defences share them."""
Row = Mapping[str, Any]
"""A defence in the report."""


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    return lambda value: start + (value - low) / (high - low) * (end - start)


_percent = _scale(0, 100, BOTTOM, TOP)
Y_TICKS = [(_percent(step), str(step)) for step in range(0, 101, 25)]


@dataclass
class Mark:
    """A figure, with its 95 % interval from `low` to `high`."""

    x: float
    y: float
    high: float
    low: float
    shape: int
    label: str
    title: str
    label_x: float = 0.0
    label_y: float = 0.0

    @property
    def point(self) -> str:
        return f"{self.x:.1f},{self.y:.1f}"


@dataclass
class Panel:
    """A chart."""

    title: str
    x_title: str
    y_title: str
    x_ticks: list[tuple[float, str]]
    right: float
    """The x of the end of the axis."""
    marks: list[Mark]
    lines: list[tuple[int, str]]
    """The shape and the points of each line."""
    control: float | None = None
    """Height of the line of what is read by chance."""
    bottom = BOTTOM
    y_ticks = Y_TICKS


def shapes(rows: Sequence[Row]) -> dict[str, int]:
    """The shape of each family of defences, which is a name with all its parameters."""
    families = dict.fromkeys(_family(row) for row in rows)
    return {name: i % SHAPES for i, name in enumerate(families)}


def trade(rows: Sequence[Row], tokens: int) -> Panel:
    """What the best attackers read of texts of a length, against the quality of search."""
    quality = [row["utility"][MEASURES[0]]["value"] for row in rows]
    first = math.floor(10 * min(quality))
    last = max(math.ceil(10 * max(quality)), first + 1)
    steps = [tenth / 10 for tenth in range(first, last + 1)]
    right = WIDTH - 12.0
    across = _scale(steps[0], steps[-1], LEFT + 8, right - 8)
    marks = []
    for row, value in zip(rows, quality, strict=True):
        mark = _mark(rows, row, tokens, "token_f1", across(value))
        mark.title += f"; nDCG@10 {value:.3f}"
        marks.append(mark)
    _place_labels(marks, right)
    lines = []
    for name, shape in shapes(rows).items():
        own = [m.point for m, row in zip(marks, rows, strict=True) if _family(row) == name]
        if len(own) > 1:
            lines.append((shape, " ".join(own)))
    by_chance = rows[0]["attackers"][0]["lengths"]
    [control] = [x["control"]["token_f1"]["value"] for x in by_chance if x["tokens"] == tokens]
    return Panel(
        f"Texts of {tokens} tokens",
        "quality of search (nDCG@10) →",
        "words read, F1",
        [(across(step), f"{step:.1f}") for step in steps],
        right,
        marks,
        lines,
        _percent(control),
    )


def by_length(rows: Sequence[Row], metric: str, title: str) -> Panel:
    """What the best attacker of each defence reads, by length."""
    lengths = lengths_of(rows[0])
    right = WIDTH - LETTER * LONGEST - 8
    # A single length goes to the right end, beside the labels.
    across = _scale(min(0, len(lengths) - 2), len(lengths) - 1, LEFT + 14, right - 14)
    curves = []
    for i, row in enumerate(rows):
        aside = (i - (len(rows) - 1) / 2) * min(APART, 4 * APART / len(rows))
        places = [across(j) + aside for j in range(len(lengths))]
        pairs = zip(lengths, places, strict=True)
        curves.append([_mark(rows, row, tokens, metric, x) for tokens, x in pairs])
    for curve in curves:
        for mark in curve[:-1]:
            mark.label = ""
    _stack_labels([curve[-1] for curve in curves], right)
    return Panel(
        title,
        "tokens of a text",
        "%",
        [(across(i), str(n)) for i, n in enumerate(lengths)],
        right,
        [mark for curve in curves for mark in curve],
        [(curve[0].shape, " ".join(mark.point for mark in curve)) for curve in curves],
    )


def _family(row: Row) -> str:
    name: str = row["defence"].partition(":")[0]
    return name


def _mark(rows: Sequence[Row], row: Row, tokens: int, metric: str, x: float) -> Mark:
    name, figure = strongest(row, tokens, metric) or ("", {})
    value, (low, high) = figure["value"], figure["ci95"]
    spec = "no defence" if row["defence"] == "none" else row["defence"]
    label = spec if len(spec) <= LONGEST else spec[: LONGEST - 1] + "…"
    title = f"{spec}, {tokens} tokens: {value:.1f} ({low:.1f} to {high:.1f}), attacker {name}"
    ends = _percent(value), _percent(high), _percent(low)
    return Mark(x, *ends, shapes(rows)[_family(row)], label, title)


def _place_labels(marks: Sequence[Mark], right: float) -> None:
    """Put each label beside its mark, in the first place where it covers nothing."""
    taken = [(m.x - 6, m.y - 6, m.x + 6, m.y + 6) for m in marks]

    def is_free(box: tuple[float, float, float, float]) -> bool:
        x0, y0, x1, y1 = box
        inside = x0 > LEFT and x1 < right + 8 and y0 > 0 and y1 < BOTTOM
        return inside and not any(x0 < c and a < x1 and y0 < d and b < y1 for a, b, c, d in taken)

    for mark in marks:
        width = LETTER * len(mark.label)
        places = [
            (x, mark.y + 4 + LINE * step)
            for step in (0, -1, 1, -2, 2, -3, 3, -4, 4, -5, 5, -6, 6)
            for x in (mark.x + 9, mark.x - 9 - width)
        ]
        boxes = [(x, y - LINE + 3, x + width, y + 3) for x, y in places]
        best = next((i for i, box in enumerate(boxes) if is_free(box)), 0)
        mark.label_x, mark.label_y = places[best]
        taken.append(boxes[best])


def _stack_labels(marks: Sequence[Mark], x: float) -> None:
    """Put the labels of the ends of lines below each other, each near its mark."""
    ordered = sorted(marks, key=lambda mark: mark.y)
    lowest = BOTTOM + 4 - LINE * (len(ordered) - 1)
    y = float(TOP - LINE)
    for i, mark in enumerate(ordered):
        y = max(y + LINE, min(mark.y + 4, lowest + LINE * i))
        mark.label_x, mark.label_y = x + 2, y
