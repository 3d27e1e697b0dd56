"""Membership inference: whether an attacker who holds vectors and a text can tell that the text is
among theirs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nanov2t.audit.figures import embed, share
from nanov2t.core.vectors import cosine, unit
from nanov2t.embedders.base import Embedder

if TYPE_CHECKING:
    from nanov2t.audit.attackers import Attacker

RATES = {f"membership@{rate}fpr": rate for rate in (0.01, 0.001)}
"""The figures, and the shares of false positives that they allow. One of 0.001 needs 1,000 texts
that are no members."""


class Membership:
    """Texts of one kind, every second of which is a member. Copies of a text do not count. If the
    vectors of a store are given, float32 [n, dim], members have those instead of their own."""

    def __init__(self, embedder: Embedder, texts: Sequence[str], stored: np.ndarray | None = None):
        first = {embedder.normalize(text): i for i, text in reversed([*enumerate(texts)])}
        places = sorted(first.values())
        self.own = embed(embedder, [texts[i] for i in places], "embedding members and others")
        held = self.own if stored is None else stored[places]
        self.members = held[::2]
        self.facts: dict[str, Any] = {"members": len(held[::2]), "others": len(held[1::2])}
        """What the report says of them; `agreement` is the mean cosine of stored and own."""
        if stored is not None:
            self.facts["agreement"] = round(float(cosine(held, self.own).mean()), 4)

    def figures(self, attackers: Sequence[Attacker]) -> dict[str, Any]:
        """For each of RATES that so few texts can tell, the share of members that the best attacker
        recognises, 0 to 100, with the 95 % interval and the attacker's name."""
        best: dict[str, Any] = {}
        for attacker in attackers:
            likeness = self._likeness(attacker)
            members, others = likeness[::2], np.sort(likeness[1::2])[::-1]
            for name, rate in RATES.items():
                if (allowed := int(rate * len(others))) > 0:
                    found = share(100.0 * (members > others[allowed]))
                    if name not in best or found["value"] > best[name]["value"]:
                        best[name] = found | {"attacker": attacker.name}
        return best

    def _likeness(self, attacker: Attacker) -> np.ndarray:
        """The cosine of each text to the nearest vector that the attacker holds, float [n]. Where
        the defence can be repeated, defended vectors are compared."""
        held, own = attacker.hold(self.members), self.own
        held, own = (
            (held, attacker.repeats(own)) if attacker.repeats else (attacker.restore(held), own)
        )
        likeness: np.ndarray = (unit(own) @ unit(held).T).max(1)
        return likeness
