"""Searches of inverters that read their embedder's states, by name."""

from __future__ import annotations

from collections.abc import Callable

from nanov2t.core.errors import UserError
from nanov2t.search.base import Engine, Search
from nanov2t.search.evolution import evolution_search

SEARCHES: dict[str, Callable[[Engine], Search]] = {"evolution": evolution_search}


def make_search(name: str, engine: Engine) -> Search:
    """The search of that name over an engine; `default` is evolution.

    Raises:
        UserError: there is no such search, or the inverter lacks what it needs.
    """
    if name not in ("default", *SEARCHES):
        raise UserError(f"search {name}: not one of default, {', '.join(SEARCHES)}")
    return SEARCHES["evolution" if name == "default" else name](engine)
