"""The inverters that come with the library. Free of torch, since the command line names them."""

from __future__ import annotations

from pathlib import Path

DEFAULT = "minilm-exact"
BUNDLED = {DEFAULT: Path(__file__).parent / DEFAULT}
"""Folders by name."""
RELEASES = ("gtr-nq32", "gtr-st-nq32", "gtr-st-nq32-ielab", "ada-002")
"""Names of what others published."""
SENTENCES = Path(__file__).parent / "sentences.txt"
"""Texts that alignments are fitted on, written for this project."""
PAIRS = 3000
"""Crops of them that are embedded."""
