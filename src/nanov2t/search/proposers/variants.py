"""Variants: the best text with other case, blanks and accents, for embedders that see these."""

from __future__ import annotations

from collections.abc import Iterator
from weakref import WeakKeyDictionary

from nanov2t.search.population import PopulationProposer, stalled
from nanov2t.search.state import SearchState
from nanov2t.search.surface import Styled, Surface, bare, parse

NEAR = 0.8
"""Closeness from which single variants are tried while the words still change."""
MERGED = 12
"""Changes that are made together at most."""
REWRITTEN = 16
"""Nearest texts that are written anew by what was learnt since they were judged."""
STYLES = 3
"""Leading texts that are tried in every usual way to write."""


class Variants(PopulationProposer):
    """Writes the best text in other ways: first in the usual styles; once it is near or its words
    no longer change, with one word or one blank changed; then with all changes that helped; last,
    if none did, with one letter accented."""

    name = "variants"

    def __init__(self) -> None:
        self._styled: WeakKeyDictionary[SearchState, set[str]] = WeakKeyDictionary()
        self._tried: WeakKeyDictionary[SearchState, tuple[str, list[Styled]]] = WeakKeyDictionary()

    def exhausted(self, state: SearchState) -> bool:
        return True

    def suggest(self, state: SearchState) -> list[str]:
        surface = state.surface
        if surface is None or not state.pool:
            return []
        best = state.pool[0]
        tested = self._tried.get(state, ("",))[0] == best.text
        surface.learn(best.text, tested)
        styled = self._styled.setdefault(state, set())
        fresh = [h.text for h in state.pool[:STYLES] if _plain(h.text) not in styled]
        styled.update(_plain(text) for text in fresh)
        texts = [style for text in fresh for style in surface.styles(text)]
        nearest = sorted(state.population, key=lambda member: -member.cosine)[:REWRITTEN]
        texts += [Styled(surface.write(_plain(member.text))) for member in nearest]
        scale = state.target.judge.scale
        if stalled(state) or 1 - (1 - best.cosine) / scale > NEAR:
            texts += self._merged(state, surface)
            variants = list(surface.variants(best.text))
            if tested:
                variants += surface.accented(best.text)
            self._tried[state] = best.text, variants
            texts += variants
        return [text for text in dict.fromkeys(texts) if not state.judged(text)]

    def _merged(self, state: SearchState, surface: Surface) -> Iterator[Styled]:
        """The changes that helped when they were last tried, made together."""
        text, variants = self._tried.get(state, ("", []))
        before = state.cosines.get(text, 1.0)
        helped = [v for v in variants if state.cosines.get(v, -1.0) > before]
        helped.sort(key=lambda v: -state.cosines[v])
        return surface.merged(text, helped[:MERGED])


def _plain(text: str) -> str:
    return bare(" ".join(parse(text)[0]))
