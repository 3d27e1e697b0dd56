"""The attackers of a defence, and what each knows. An attacker turns defended vectors into vectors
that an inverter of undefended ones can read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from nanov2t.align.fit import ridge
from nanov2t.core.errors import UserError
from nanov2t.core.vectors import cosine
from nanov2t.defences import MadeDefence
from nanov2t.targets import Defence

Restore = Callable[[np.ndarray], np.ndarray]
"""From defended vectors, float32 [n, dim], to estimates of the undefended ones."""
Fit = Callable[[np.ndarray, np.ndarray], Restore]
READS = (4, 16)
"""Reads of a vector that are averaged if each read has new noise."""
RIDGES = (1e-6, 1e-4, 1e-2, 1e-1, 1.0)
"""Strengths of the ridge to try, as shares of the mean variance of the defended vectors."""
HELD_OUT = 0.2
"""Share of the pairs that chooses the best fit."""
TRAINED = "how to defend vectors of their own, and trains the inverter on them"


@dataclass(frozen=True)
class Attacker:
    """Someone who holds defended vectors and an inverter of undefended ones."""

    name: str
    knows: str
    hold: Defence
    """From undefended vectors to the ones that the attacker holds."""
    restore: Restore
    repeats: Defence | None = None
    """The very defence, if the attacker can repeat it: the search then compares defended vectors,
    so the attacker knows which texts are right."""
    trains_on: Defence | None = None
    """Defends vectors of public texts, if the attacker trains the inverter on them."""


def attackers_of(
    defence: MadeDefence | None, public: np.ndarray, pairs: Sequence[int], train_budget: str = ""
) -> list[Attacker]:
    """The attackers of a defence, or of plain vectors if it is None.

    Args:
        public: undefended vectors of texts that are no secret, float32 [m, dim].
        pairs: for each number, one attacker knows so many texts with their defended vectors.
        train_budget: how long a further attacker trains, such as `10m`; empty: there is none.

    Raises:
        UserError: there are fewer public texts than pairs.
    """
    trained = f"trained {train_budget}"
    if defence is None:
        found = [Attacker("unchanged", "the vectors alone", _same, _same)]
        if train_budget:  # to tell what training alone gains
            found.append(Attacker(trained, TRAINED, _same, _same, trains_on=_same))
        return found
    found = [Attacker("unchanged", "the vectors alone", defence, _same)]
    repeats = defence.known if defence.repeatable else None
    if defence.known is not None:
        restore = fit(defence.known(public), public)
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
        restore = fit(defence(public[:count]), public[:count])
        knows = f"{count} texts with their defended vectors"
        found.append(Attacker(f"{count} pairs", knows, defence, restore))
    if train_budget:
        call = defence.known or defence  # a secret key is no obstacle if a service can be called
        restore = fit(call(public), public)
        found.append(Attacker(trained, TRAINED, defence, restore, repeats, call))
    return found


def _same(vectors: np.ndarray) -> np.ndarray:
    return vectors


def fit(defended: np.ndarray, undefended: np.ndarray) -> Restore:
    """Fit the map from defended to undefended vectors, float32 [m, dim] each, by ridge regression
    or a rotation (orthogonal Procrustes), whichever does best on held-out pairs. If both kinds of
    vectors are Gaussian, ridge regression finds the mean of the undefended ones."""
    held = max(1, round(HELD_OUT * len(defended)))
    fits: list[Fit] = [_rotation, *(partial(_regression, share=share) for share in RIDGES)]

    def worth(fitted: Fit) -> float:
        restore = fitted(defended[:-held], undefended[:-held])
        return float(cosine(restore(defended[-held:]), undefended[-held:]).mean())

    return max(fits, key=worth)(defended, undefended)


def _regression(defended: np.ndarray, undefended: np.ndarray, share: float) -> Restore:
    variance = float(defended.astype(np.float64).var(0).mean())
    weights, constant = ridge(defended, undefended, share * max(variance, 1e-12) * len(defended))
    return lambda vectors: (vectors @ weights + constant).astype(np.float32)


def _rotation(defended: np.ndarray, undefended: np.ndarray) -> Restore:
    u, _, v = np.linalg.svd(defended.T.astype(np.float64) @ undefended.astype(np.float64))
    return lambda vectors: (vectors @ (u @ v)).astype(np.float32)
