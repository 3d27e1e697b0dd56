"""The charts of a report: where each mark and line goes. chart.html draws them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nanov2t.audit.judging import lengths_of, strongest
from nanov2t.audit.retrieval import MEASURES

WIDTH, HEIGHT = 420, 300
LEFT, RIGHT, TOP, BOTTOM = 40, WIDTH - 12, 14, HEIGHT - 46
"""The area of the marks, in the units of the chart."""
APART = 6
"""Distance between marks of one length, so that none hides another."""
SHAPES = 8
"""Shapes of marks, each with its own colour and dashes. More defences share them."""
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
    title: str


@dataclass
class Panel:
    """A chart."""

    title: str
    x_title: str
    y_title: str
    x_ticks: list[tuple[float, str]]
    marks: list[Mark]
    lines: list[tuple[int, str]]
    """The shape and the points of each line."""
    control: float | None = None
    """Height of the line of what is read by chance."""
    right, bottom = RIGHT, BOTTOM
    y_ticks = Y_TICKS


def shapes(rows: Sequence[Row]) -> dict[str, int]:
    """The shape of each defence."""
    return {row["defence"]: i % SHAPES for i, row in enumerate(rows)}


def trade(rows: Sequence[Row], tokens: int) -> Panel:
    """What the best attackers read of texts of a length, against the quality of search."""
    quality = [row["utility"][MEASURES[0]]["value"] for row in rows]
    first = math.floor(10 * min(quality))
    last = max(math.ceil(10 * max(quality)), first + 1)
    steps = [tenth / 10 for tenth in range(first, last + 1)]
    across = _scale(steps[0], steps[-1], LEFT + 8, RIGHT - 8)
    marks = []
    for row, value in zip(rows, quality, strict=True):
        mark = _mark(rows, row, tokens, "token_f1", across(value))
        mark.title += f"; nDCG@10 {value:.3f}"
        marks.append(mark)
    families: dict[str, list[Mark]] = {}  # a name with all its parameters
    for mark, row in zip(marks, rows, strict=True):
        families.setdefault(row["defence"].partition(":")[0], []).append(mark)
    by_chance = rows[0]["attackers"][0]["lengths"]
    [control] = [x["control"]["token_f1"]["value"] for x in by_chance if x["tokens"] == tokens]
    return Panel(
        f"Texts of {tokens} tokens",
        "quality of search (nDCG@10) →",
        "words read, F1",
        [(across(step), f"{step:.1f}") for step in steps],
        marks,
        [(own[0].shape, _points(own)) for own in families.values() if len(own) > 1],
        _percent(control),
    )


def by_length(rows: Sequence[Row], metric: str, title: str) -> Panel:
    """What the best attacker of each defence reads, by length."""
    lengths = lengths_of(rows[0])
    across = _scale(0, max(1, len(lengths) - 1), LEFT + 14, RIGHT - 14)
    curves = []
    for i, row in enumerate(rows):
        aside = (i - (len(rows) - 1) / 2) * min(APART, 4 * APART / len(rows))
        places = [across(j) + aside for j in range(len(lengths))]
        pairs = zip(lengths, places, strict=True)
        curves.append([_mark(rows, row, tokens, metric, x) for tokens, x in pairs])
    return Panel(
        title,
        "tokens of a text",
        "%",
        [(across(i), str(n)) for i, n in enumerate(lengths)],
        [mark for curve in curves for mark in curve],
        [(curve[0].shape, _points(curve)) for curve in curves],
    )


def _points(marks: Sequence[Mark]) -> str:
    return " ".join(f"{mark.x:.1f},{mark.y:.1f}" for mark in marks)


def _mark(rows: Sequence[Row], row: Row, tokens: int, metric: str, x: float) -> Mark:
    name, figure = strongest(row, tokens, metric) or ("", {})
    value, (low, high) = figure["value"], figure["ci95"]
    spec = "no defence" if row["defence"] == "none" else row["defence"]
    title = f"{spec}, {tokens} tokens: {value:.1f} ({low:.1f} to {high:.1f}), attacker {name}"
    ends = _percent(value), _percent(high), _percent(low)
    return Mark(x, *ends, shapes(rows)[row["defence"]], title)
