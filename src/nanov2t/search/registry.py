"""Searches by name."""

from __future__ import annotations

from collections.abc import Callable

from nanov2t.core.errors import UserError
from nanov2t.search.base import Parts, Search
from nanov2t.search.beam import beam_search
from nanov2t.search.exhaustive import exhaustive_search

SEARCHES: dict[str, Callable[[Parts], Search]] = {
    "default": beam_search,
    "exhaustive": exhaustive_search,
}


def make_search(name: str, parts: Parts) -> Search:
    """The search of that name over the parts of an inverter.

    Raises:
        UserError: there is no such search.
    """
    if name not in SEARCHES:
        raise UserError(f"search {name}: not one of {', '.join(SEARCHES)}")
    return SEARCHES[name](parts)
