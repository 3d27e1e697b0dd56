"""The inverters that come with the library. Free of torch, since the command line names them."""

from __future__ import annotations

from pathlib import Path

DEFAULT = "minilm-exact"
BUNDLED = {DEFAULT: Path(__file__).parent / DEFAULT}
"""Folders by name."""
