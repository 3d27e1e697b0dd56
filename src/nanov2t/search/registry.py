"""Searches by name."""

from __future__ import annotations

from collections.abc import Callable

from nanov2t.core.errors import UserError
from nanov2t.search.base import Parts, Search
from nanov2t.search.beam import beam_search
from nanov2t.search.evolution import evolution_search
from nanov2t.search.exhaustive import exhaustive_search

SEARCHES: dict[str, Callable[[Parts], Search]] = {
    "beam": beam_search,
    "evolution": evolution_search,
    "exhaustive": exhaustive_search,
}


def make_search(name: str, parts: Parts) -> Search:
    """The search of that name over the parts of an inverter; `default` is evolution where the
    inverter looks inside its embedder, else the beam search.

    Raises:
        UserError: there is no such search, or the inverter has not what it needs.
    """
    if name == "default":
        name = "evolution" if parts.editor is not None else "beam"
    if name not in SEARCHES:
        raise UserError(f"search {name}: not one of default, {', '.join(SEARCHES)}")
    return SEARCHES[name](parts)
