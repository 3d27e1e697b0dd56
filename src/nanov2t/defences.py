"""Defences: what the owner of vectors may do to them so that less text leaks.

A spec is a name of the registry with its parameter behind a colon, such as `noise:0.01`, `int8` or
`truncate:256`; or `module:function`, a function of one's own from float32 [n, dim] to float32
[n, dim], in a module that is installed or stands in the current folder.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nanov2t.core.errors import UserError, did_you_mean
from nanov2t.core.functions import load_function
from nanov2t.core.vectors import bad_rows
from nanov2t.stores.base import import_client
from nanov2t.targets import Defence

COARSE = 16
"""Steps up to a vector's largest number, to which the numbers are cut that seed its noise."""


@dataclass(frozen=True)
class Setting:
    """What a defence is made for."""

    dim: int
    """Of the vectors."""
    seed: int
    """Of what is drawn: the owner's secret, where there is one."""
    public: np.ndarray
    """float32 [m, dim]: vectors of texts that are no secret, for defences that are fitted."""


@dataclass(frozen=True)
class Kind:
    """A row of the registry."""

    make: Callable[[float, Setting], Defence]
    """Of the parameter."""
    parameter: str = ""
    """What the parameter is; empty where there is none."""
    accepts: Callable[[float, int], bool] = lambda value, dim: True
    """Whether a value will do for vectors of a dimension."""
    secret: bool = False
    """Whether it has a key that one who knows how it works lacks."""
    drawn: bool = False
    """Whether it is drawn anew at every read, so that nobody can repeat it."""


@dataclass(frozen=True)
class MadeDefence:
    """A defence out of a spec; to be called with float32 [n, dim]."""

    spec: str
    apply: Defence
    known: Defence | None
    """What one who knows how it works can do to vectors of his own: the same, or the same with
    noise of his own; None if it needs a key."""
    reads: Callable[[int, bool], Defence] | None = None
    """Where noise is drawn anew at every read: the mean of so many reads, the owner's or, if the
    flag is set, those that `known` is the first of."""
    source: bytes = b""
    """The code of the module where the defence is one's own."""

    @property
    def repeatable(self) -> bool:
        """Whether `known` gives the very vectors that `apply` gives."""
        return self.known is not None and self.reads is None

    def __call__(self, vectors: np.ndarray) -> np.ndarray:
        return self.apply(vectors)


def make_defence(spec: str, setting: Setting) -> MadeDefence:
    """The defence that a spec stands for.

    Raises:
        UserError: there is no such defence, its parameter will not do, or what it needs is not
            installed.
    """
    name, _, text = spec.partition(":")
    if name not in DEFENCES:
        own, source = _own(spec)
        return MadeDefence(spec, own, own, source=source)
    kind = DEFENCES[name]
    value = _parameter(spec, text, kind, setting.dim)
    if not kind.drawn:
        apply = kind.make(value, setting)
        return MadeDefence(spec, apply, None if kind.secret else apply)

    def reads(count: int, known: bool) -> Defence:
        seeds = range(setting.seed + known, setting.seed + known + 2 * count, 2)
        drawn = [kind.make(value, replace(setting, seed=seed)) for seed in seeds]
        return lambda vectors: np.mean([draw(vectors) for draw in drawn], axis=0)

    return MadeDefence(spec, reads(1, False), reads(1, True), reads)


def check_defence(spec: str, dim: int | None) -> None:
    """Refuse a spec as :func:`make_defence` does, but make nothing; None: the dimension of the
    vectors is not known yet."""
    name, _, text = spec.partition(":")
    if name in DEFENCES:
        _parameter(spec, text, DEFENCES[name], dim)
        return
    try:
        _own(spec)
    except UserError as error:
        raise UserError(f"{error}{did_you_mean(name, DEFENCES)}") from None


def _parameter(spec: str, text: str, kind: Kind, dim: int | None) -> float:
    if not kind.parameter:
        if text:
            raise UserError(f"defence {spec}: takes no parameter")
        return 0.0
    try:
        value = float(text)
    except ValueError:
        raise UserError(f"defence {spec}: needs {kind.parameter} behind a colon") from None
    if not (np.isfinite(value) and (dim is None or kind.accepts(value, dim))):
        raise UserError(f"defence {spec}: {text} is not {kind.parameter}, of {dim} dimensions")
    return value


def _own(spec: str) -> tuple[Defence, bytes]:
    """The function that `module:function` names, and the code of its module."""
    module, _, function = spec.partition(":")
    if not function:
        names = ", ".join(f"{n}:X" if k.parameter else n for n, k in DEFENCES.items())
        raise UserError(f"defence {spec}: neither one of {names} nor module:function")
    found = load_function(spec, "defence")

    def apply(vectors: np.ndarray) -> np.ndarray:
        changed = np.asarray(found(vectors.copy()), np.float32)
        if changed.shape != vectors.shape:
            raise UserError(f"defence {spec}: makes {changed.shape} of {vectors.shape}")
        for row, reason in bad_rows(changed).items():
            raise UserError(f"defence {spec}: what it makes of vector {row} is {reason}")
        return changed

    code = getattr(sys.modules[module], "__file__", None)  # None if it is built into Python
    return apply, b"" if code is None else Path(code).read_bytes()


def _noise(scale: float, setting: Setting) -> Defence:
    def apply(vectors: np.ndarray) -> np.ndarray:
        # By the row's own numbers, so that it does not depend on the rows beside it; by few digits
        # of them, since the last ones differ between processors.
        coarse = (COARSE * vectors / np.abs(vectors).max(1, keepdims=True)).astype(np.int8)
        drawn = [
            np.random.default_rng([setting.seed, zlib.crc32(row.tobytes())]).normal(size=len(row))
            for row in coarse
        ]
        noisy: np.ndarray = vectors + np.float32(scale) * np.array(drawn, np.float32)
        return noisy

    return apply


def _int8(_: float, setting: Setting) -> Defence:
    def apply(vectors: np.ndarray) -> np.ndarray:
        rounded: np.ndarray = (127 * vectors / np.abs(vectors).max(1, keepdims=True)).round()
        return rounded

    return apply


def _bits(_: float, setting: Setting) -> Defence:
    return lambda vectors: np.where(vectors < 0, -1, 1).astype(np.float32)


def _truncate(count: float, setting: Setting) -> Defence:
    kept = (np.arange(setting.dim) < count).astype(np.float32)
    return lambda vectors: vectors * kept


def _mask(share: float, setting: Setting) -> Defence:
    dropped = np.random.default_rng(setting.seed).permutation(setting.dim)
    kept = np.ones(setting.dim, np.float32)
    kept[dropped[: round(share * setting.dim)]] = 0
    return lambda vectors: vectors * kept


def _scale(factor: float, setting: Setting) -> Defence:
    return lambda vectors: vectors * np.float32(factor)


def _rotation(_: float, setting: Setting) -> Defence:
    drawn = np.random.default_rng(setting.seed).normal(size=(setting.dim, setting.dim))
    q, r = np.linalg.qr(drawn)
    # Without the signs, QR does not draw evenly from all rotations.
    rotation = (q * np.sign(np.diag(r))).astype(np.float32)
    return lambda vectors: vectors @ rotation


def _product_quantisation(parts: float, setting: Setting) -> Defence:
    faiss = import_client("faiss", "faiss")
    bits = int(np.clip(np.log2(max(len(setting.public), 1)), 1, 8))
    quantizer: Any = faiss.ProductQuantizer(setting.dim, int(parts), bits)
    quantizer.cp.min_points_per_centroid = 1  # it warns of few public vectors on stderr
    quantizer.cp.seed = setting.seed
    quantizer.train(setting.public)
    return lambda vectors: quantizer.decode(
        quantizer.compute_codes(np.ascontiguousarray(vectors, np.float32))
    )


DEFENCES: dict[str, Kind] = {
    "noise": Kind(
        _noise,
        "the standard deviation of Gaussian noise on each number",
        lambda value, dim: value >= 0,
        drawn=True,
    ),
    "int8": Kind(_int8),
    "bits": Kind(_bits),
    "pq": Kind(
        _product_quantisation,
        "a number of parts that divides the dimension",
        lambda value, dim: value >= 1 and dim % value == 0,
    ),
    "truncate": Kind(
        _truncate,
        "a whole number of dimensions to keep",
        lambda value, dim: value == int(value) and 1 <= value <= dim,
    ),
    "mask": Kind(
        _mask,
        "the share of dimensions set to 0",
        lambda value, dim: 0 <= round(value * dim) < dim,
    ),
    "scale": Kind(_scale, "a factor other than 0", lambda value, dim: value != 0),
    "rotation": Kind(_rotation, secret=True),
}
"""By the names that specs begin with. Whoever holds vectors sees which dimensions are masked, so
only the rotation has a key."""
