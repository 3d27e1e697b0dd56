"""Who reads the defended vectors, and what they know: each turns them into what an inverter of
undefended vectors can read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from nanov2t.align.fit import ridge
from nanov2t.core.errors import UserError
from nanov2t.core.vectors import cosine
from nanov2t.defences import MadeDefence
from nanov2t.targets import Defence

Restore = Callable[[np.ndarray], np.ndarray]
"""Defended vectors, float32 [n, dim], to estimates of the undefended ones."""
RIDGES = (1e-6, 1e-4, 1e-2, 1e-1, 1.0)
"""Strengths of the ridge that are tried, as shares of the defended vectors' mean variance."""
HELD_OUT = 0.2
"""Share of the pairs that chooses among the fits."""


@dataclass(frozen=True)
class Attacker:
    """One who holds defended vectors and an inverter of undefended ones."""

    name: str
    knows: str
    hold: Defence
    """Undefended vectors to those that the attacker holds."""
    restore: Restore
    repeats: Defence | None = None
    """Makes the very vectors that are held, where the attacker can: its search then goes by the
    defended vectors of guesses, and so knows which are right."""
    trains_on: Defence | None = None
    """Makes defended vectors of public texts, where the attacker trains the inverter on them."""


READS = (4, 16)
"""Reads of one vector that are averaged, where each has noise of its own."""
TRAINED = "what is done to vectors, or can have it done, and trains the inverter on such vectors"


def attackers_of(
    defence: MadeDefence | None, public: np.ndarray, pairs: Sequence[int], train_budget: str = ""
) -> list[Attacker]:
    """Those who attack a defence.

    Args:
        public: float32 [m, dim], undefended vectors of texts that are no secret.
        pairs: for each number, one who has so many texts with their defended vectors.
        train_budget: how long another one trains, such as `10m`; empty: there is none.

    Raises:
        UserError: there are fewer public texts than pairs are asked for.
    """
    if defence is None:
        found = [Attacker("unchanged", "the vectors alone", _as_it_is, _as_it_is)]
        if train_budget:
            # So that what the training brings by itself is not taken for the defence's weakness.
            name, same = f"trained {train_budget}", _as_it_is
            found.append(Attacker(name, TRAINED, same, same, trains_on=same))
        return found
    found = [Attacker("unchanged", "the vectors alone", defence, _as_it_is)]
    if defence.known is not None:
        restore = fit(defence.known(public), public)
        repeats = defence.known if defence.repeatable else None
        found.append(Attacker("informed", "how the defence works", defence, restore, repeats))
    if reads := defence.reads:
        for count in READS:
            knows = f"how the defence works, and {count} reads of each vector"
            restore = fit(reads(count, True)(public), public)
            hold = reads(count, False)
            found.append(Attacker(f"informed, {count} reads", knows, hold, restore))
    for count in pairs:
        if not 2 <= count <= len(public):
            raise UserError(f"--pairs {count}: between 2 and {len(public)}, the public texts")
        known = f"{count} texts with their defended vectors"
        restore = fit(defence(public[:count]), public[:count])
        found.append(Attacker(f"{count} pairs", known, defence, restore))
    if train_budget:
        # One who can call a defence with a key, such as a service's, needs no key.
        call = defence.known or defence
        repeats = defence.known if defence.repeatable else None
        name, restore = f"trained {train_budget}", fit(call(public), public)
        found.append(Attacker(name, TRAINED, defence, restore, repeats, call))
    return found


def _as_it_is(vectors: np.ndarray) -> np.ndarray:
    return vectors


def fit(defended: np.ndarray, undefended: np.ndarray) -> Restore:
    """The map from defended to undefended vectors, float32 [m, dim] each, that does best on pairs
    that were held out: ridge regression, whose best is the mean of the undefended vectors given
    the defended ones where both are Gaussian, or a rotation (orthogonal Procrustes)."""
    held = max(1, round(HELD_OUT * len(defended)))
    fits: list[Callable[[np.ndarray, np.ndarray], Restore]] = [_rotation]
    fits += [lambda a, b, share=share: _regression(a, b, share) for share in RIDGES]  # type: ignore[misc]

    def worth(fitted: Callable[[np.ndarray, np.ndarray], Restore]) -> float:
        restore = fitted(defended[:-held], undefended[:-held])
        return float(cosine(restore(defended[-held:]), undefended[-held:]).mean())

    return max(fits, key=worth)(defended, undefended)


def _regression(defended: np.ndarray, undefended: np.ndarray, strength: float) -> Restore:
    """Ridge regression, its strength a share of the defended vectors' mean variance."""
    variance = float(defended.astype(np.float64).var(0).mean())
    weights, constant = ridge(defended, undefended, strength * max(variance, 1e-12) * len(defended))
    return lambda vectors: (vectors @ weights + constant).astype(np.float32)


def _rotation(defended: np.ndarray, undefended: np.ndarray) -> Restore:
    u, _, v = np.linalg.svd(defended.T.astype(np.float64) @ undefended.astype(np.float64))
    return lambda vectors: (vectors @ (u @ v)).astype(np.float32)
