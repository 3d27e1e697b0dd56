"""Turns sentence embeddings back into the text they came from.

from nanov2t import load_inverter

inverter = load_inverter("minilm-exact")
[inversion] = inverter.invert(inverter.embedder.encode(["She moved to London."]))
print(inversion.text, inversion.cosine)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nanov2t.embedders.registry import load_embedder
    from nanov2t.inverter import Inverter
    from nanov2t.load import load_inverter
    from nanov2t.matching import Match, match
    from nanov2t.search.options import Budget
    from nanov2t.search.state import Inversion
    from nanov2t.t5.generator import Generator

__version__: str
__all__ = [
    "Budget",
    "Generator",
    "Inversion",
    "Inverter",
    "Match",
    "load_embedder",
    "load_inverter",
    "match",
]

_HOME = {
    "Budget": "search.options",
    "Generator": "t5.generator",
    "Inversion": "search.state",
    "Inverter": "inverter",
    "Match": "matching",
    "load_embedder": "embedders.registry",
    "load_inverter": "load",
    "match": "matching",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("nanov2t")
    # Importing torch takes seconds; whoever only wants --help should not wait for it.
    if name not in _HOME:
        raise AttributeError(f"module 'nanov2t' has no attribute {name!r}")
    return getattr(import_module(f"nanov2t.{_HOME[name]}"), name)
