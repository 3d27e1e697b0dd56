"""The HTML of the page. Every text of a visitor is escaped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader

from nanov2t.evaluation.metrics import word_diff

STYLE = Path(__file__).with_name("style.css").read_text(encoding="utf-8")
_templates = Environment(
    loader=PackageLoader("nanov2t.ui", ""), autoescape=True, trim_blocks=True, lstrip_blocks=True
)
_templates.globals["word_diff"] = word_diff
DRAW: Any = _templates.get_template("drawing.html").module
"""The macros of drawing.html."""


def strip(vector: np.ndarray) -> str:
    """A vector [dim] as a strip of cells."""
    strength = (np.abs(vector) / max(float(np.abs(vector).max()), 1e-12)).round(1)
    shades: dict[tuple[str, float], list[int]] = {}
    for i, (x, shade) in enumerate(zip(vector.tolist(), strength.tolist(), strict=True)):
        shades.setdefault(("above" if x > 0 else "below", round(shade, 1)), []).append(i)
    return str(DRAW.strip(len(vector), shades))
