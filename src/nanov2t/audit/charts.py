"""The pictures of a report: where every mark stands. The template draws them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nanov2t.audit.judging import strongest
from nanov2t.audit.utility import MEASURES

WIDTH, HEIGHT = 420, 300
LEFT, TOP, BOTTOM = 40, 14, 46
LETTER, LINE = 6.4, 13
"""Width of a letter and height of a line of the labels."""
LONGEST = 14
"""Letters of a label; the title of its mark has the whole."""
APART = 6
"""Between marks of one length, so that none hides another."""
SHAPES = 8
"""Of marks, each with a colour and a dash of its own; then they come again."""
Row = Mapping[str, Any]


@dataclass
class Mark:
    """A figure, with its interval from `high` to `low`, all in units of the picture."""

    x: float
    y: float
    high: float
    low: float
    shape: int
    label: str
    title: str
    label_x: float = 0.0
    label_y: float = 0.0


@dataclass
class Panel:
    """A picture."""

    title: str
    x_title: str
    y_title: str
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    right: float
    """Where the axis ends; to the right of it there is room for labels."""
    marks: list[Mark]
    lines: list[tuple[int, str]] = field(default_factory=list)
    """A shape and the points of a line."""
    control: float | None = None
    """Where what is read by chance stands."""
    bottom: float = HEIGHT - BOTTOM


def shapes(rows: Sequence[Row]) -> dict[str, int]:
    """The shape of each family of defences: those of one name with other parameters."""
    families = dict.fromkeys(family(row["defence"]) for row in rows)
    return {name: i % SHAPES for i, name in enumerate(families)}


def family(spec: str) -> str:
    return spec.partition(":")[0]


def trade(rows: Sequence[Row], tokens: int) -> Panel:
    """What the best attacker reads of texts of a length, by what retrieval is worth."""
    kept = [row["utility"][MEASURES[0]]["value"] for row in rows]
    first = math.floor(10 * min(kept))
    last = max(math.ceil(10 * max(kept)), first + 1)
    steps = [tenth / 10 for tenth in range(first, last + 1)]
    right = WIDTH - 12.0
    across = _scale(steps[0], steps[-1], LEFT + 8, right - 8)
    up = _percent()
    shape = shapes(rows)
    marks = []
    for row, value in zip(rows, kept, strict=True):
        mark = _mark(row, tokens, "token_f1", across(value), shape)
        mark.title += f"; nDCG@10 {value:.3f}"
        marks.append(mark)
    _label(marks, right)
    chance = rows[0]["attackers"][0]["lengths"]
    [control] = [x["control"]["token_f1"]["value"] for x in chance if x["tokens"] == tokens]
    return Panel(
        f"Texts of {tokens} tokens",
        "quality of search (nDCG@10) →",
        "words read out, F1",
        [(across(step), f"{step:.1f}") for step in steps],
        [(up(step), str(step)) for step in range(0, 101, 25)],
        right,
        marks,
        _joined(marks, rows),
        up(control),
    )


def by_length(rows: Sequence[Row], metric: str, title: str) -> Panel:
    """What the best attacker of each defence reads, by length."""
    lengths = [x["tokens"] for x in rows[0]["attackers"][0]["lengths"]]
    right = WIDTH - LETTER * LONGEST - 8
    # A single length stands at the end, beside the labels.
    across = _scale(min(0, len(lengths) - 2), len(lengths) - 1, LEFT + 14, right - 14)
    up = _percent()
    shape = shapes(rows)
    marks: list[Mark] = []
    last: list[Mark] = []
    lines = []
    for row in rows:
        aside = (len(last) - (len(rows) - 1) / 2) * min(APART, 4 * APART / len(rows))
        own = [_mark(row, n, metric, across(i) + aside, shape) for i, n in enumerate(lengths)]
        marks += own
        last.append(own[-1])
        points = " ".join(f"{mark.x:.1f},{mark.y:.1f}" for mark in own)
        lines.append((own[0].shape, points))
    _spread(last, right)
    for mark in marks:
        mark.label = mark.label if mark in last else ""
    return Panel(
        title,
        "tokens of a text",
        "%",
        [(across(i), str(n)) for i, n in enumerate(lengths)],
        [(up(step), str(step)) for step in range(0, 101, 25)],
        right,
        marks,
        lines,
    )


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    return lambda value: start + (value - low) / (high - low) * (end - start)


def _percent() -> Callable[[float], float]:
    return _scale(0, 100, HEIGHT - BOTTOM, TOP)


def _mark(row: Row, tokens: int, metric: str, x: float, shape: Mapping[str, int]) -> Mark:
    name, figure = strongest(row, tokens, metric) or ("", {})
    up, value, (low, high) = _percent(), figure["value"], figure["ci95"]
    spec = row["defence"]
    spec = "no defence" if spec == "none" else spec
    label = spec if len(spec) <= LONGEST else spec[: LONGEST - 1] + "…"
    title = f"{spec}, {tokens} tokens: {value:.1f} ({low:.1f} to {high:.1f}), attacker {name}"
    return Mark(x, up(value), up(high), up(low), shape[family(row["defence"])], label, title)


def _joined(marks: Sequence[Mark], rows: Sequence[Row]) -> list[tuple[int, str]]:
    """A line through the defences of each family, in the order in which they were named."""
    lines = []
    for name, shape in shapes(rows).items():
        own = [m for m, row in zip(marks, rows, strict=True) if family(row["defence"]) == name]
        if len(own) > 1:
            lines.append((shape, " ".join(f"{mark.x:.1f},{mark.y:.1f}" for mark in own)))
    return lines


def _label(marks: Sequence[Mark], right: float) -> None:
    """Put each label beside its mark where nothing else stands."""
    taken = [(m.x - 6, m.y - 6, m.x + 6, m.y + 6) for m in marks]
    for mark in marks:
        width = LETTER * len(mark.label)
        places = [
            (x, mark.y + dy)
            for dy in (4 + LINE * step for step in (0, -1, 1, -2, 2, -3, 3, -4, 4, -5, 5, -6, 6))
            for x in (mark.x + 9, mark.x - 9 - width)
        ]
        boxes = [(x, y - LINE + 3, x + width, y + 3) for x, y in places]
        free = [
            i
            for i, box in enumerate(boxes)
            if box[0] > LEFT and box[2] < right + 8 and box[1] > 0 and box[3] < HEIGHT - BOTTOM
            if not any(_overlap(box, other) for other in taken)
        ]
        best = free[0] if free else 0
        mark.label_x, mark.label_y = places[best]
        taken.append(boxes[best])


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _spread(marks: Sequence[Mark], right: float) -> None:
    """Put the labels of the ends of lines below each other."""
    ordered = sorted(marks, key=lambda mark: mark.y)
    floor = HEIGHT - BOTTOM + 4 - LINE * (len(ordered) - 1)
    y = float(TOP - LINE)
    for i, mark in enumerate(ordered):
        y = max(y + LINE, min(mark.y + 4, floor + LINE * i))
        mark.label_x, mark.label_y = right + 2, y
