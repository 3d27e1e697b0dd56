"""Defences: changes to vectors that leak less text.

A spec is a name in DEFENCES, with its parameter after a colon (`noise:0.01`), or `module:function`:
a function of your own from float32 [n, dim] to float32 [n, dim].
"""

import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nanov2t.core.errors import UserError, did_you_mean
from nanov2t.core.imports import import_client, load_function
from nanov2t.core.vectors import bad_rows
from nanov2t.targets import Defence

COARSE = 16  # steps to which the numbers of a vector are cut before they seed its noise


@dataclass(frozen=True)
class Setting:
    """What a defence is made for."""

    dim: int
    seed: int  # the owner's secret
    public: np.ndarray  # float32 [m, dim] of public texts, for defences that are fitted


@dataclass(frozen=True)
class Entry:
    """A kind of defence."""

    make: Callable[[float, Setting], Defence]
    parameter: str = ""  # what the parameter is; empty if there is none
    accepts: Callable[[float, int], bool] = lambda value, dim: True  # a parameter and a dimension
    secret: bool = False  # whether it needs a key that an attacker lacks
    drawn: bool = False  # whether every read draws new noise
    source: bytes = b""  # the code of your own module


@dataclass(frozen=True)
class MadeDefence:
    """A defence made from a spec. Call it with vectors, float32 [n, dim]."""

    spec: str
    apply: Defence
    known: Defence | None  # what an attacker can repeat, if with other noise; None if secret
    reads: Callable[[int, bool], Defence] | None = None  # the mean of so many; True: the attacker's
    source: bytes = b""

    @property
    def repeatable(self) -> bool:
        """Whether an attacker can make the very same vectors."""
        return self.known is not None and self.reads is None

    def __call__(self, vectors: np.ndarray) -> np.ndarray:
        return self.apply(vectors)


def make_defence(spec: str, setting: Setting) -> MadeDefence:
    """Make the defence of a spec. A UserError if the spec is wrong."""
    entry, value = check_defence(spec, setting.dim)
    if not entry.drawn:
        apply = entry.make(value, setting)
        return MadeDefence(spec, apply, None if entry.secret else apply, source=entry.source)

    def reads(count: int, known: bool) -> Defence:
        seeds = range(setting.seed + known, setting.seed + known + 2 * count, 2)
        drawn = [entry.make(value, replace(setting, seed=seed)) for seed in seeds]
        return lambda vectors: np.mean([draw(vectors) for draw in drawn], axis=0)

    return MadeDefence(spec, reads(1, False), reads(1, True), reads)


def check_defence(spec: str, dim: int | None) -> tuple[Entry, float]:
    """The kind of defence that a spec names, and its parameter. `dim` is None if not known yet."""
    name, _, text = spec.partition(":")
    if name not in DEFENCES:
        try:
            return _own(spec), 0.0
        except UserError as error:
            raise UserError(f"{error}{did_you_mean(name, DEFENCES)}") from None
    entry = DEFENCES[name]
    if text and not entry.parameter:
        raise UserError(f"defence {spec}: takes no parameter")
    try:
        value = float(text) if entry.parameter else 0.0
    except ValueError:
        raise UserError(f"defence {spec}: needs {entry.parameter} after a colon") from None
    if not (np.isfinite(value) and (dim is None or entry.accepts(value, dim))):
        raise UserError(f"defence {spec}: {text} is not {entry.parameter}, of {dim} dimensions")
    return entry, value


def _own(spec: str) -> Entry:
    module, _, function = spec.partition(":")
    if not function:
        names = ", ".join(f"{n}:X" if e.parameter else n for n, e in DEFENCES.items())
        raise UserError(f"defence {spec}: neither one of {names} nor module:function")
    found = load_function(spec, "defence")

    def apply(vectors: np.ndarray) -> np.ndarray:
        changed = np.asarray(found(vectors.copy()), np.float32)
        if changed.shape != vectors.shape:
            raise UserError(f"defence {spec}: makes {changed.shape} of {vectors.shape}")
        for row, reason in bad_rows(changed).items():
            raise UserError(f"defence {spec}: what it makes of vector {row} is {reason}")
        return changed

    code = getattr(sys.modules[module], "__file__", None)  # None for modules built into Python
    return Entry(lambda _, setting: apply, source=Path(code).read_bytes() if code else b"")


def _noise(scale: float, setting: Setting) -> Defence:
    def apply(vectors: np.ndarray) -> np.ndarray:
        # A vector seeds its own noise, so the vectors beside it do not matter. Its numbers are cut
        # to a few digits before, since the last ones differ between processors.
        coarse = (COARSE * vectors / np.abs(vectors).max(1, keepdims=True)).astype(np.int8)
        rngs = [np.random.default_rng([setting.seed, zlib.crc32(row.tobytes())]) for row in coarse]
        drawn = np.array([rng.normal(size=setting.dim) for rng in rngs], np.float32)
        return np.asarray(vectors + np.float32(scale) * drawn)

    return apply


def _keep(dimensions: Any, setting: Setting) -> Defence:
    """Set all other dimensions to 0."""
    kept = np.zeros(setting.dim, np.float32)
    kept[dimensions] = 1
    return lambda vectors: vectors * kept


def _mask(share: float, setting: Setting) -> Defence:
    order = np.random.default_rng(setting.seed).permutation(setting.dim)
    return _keep(order[round(share * setting.dim) :], setting)


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
    quantizer.cp.min_points_per_centroid = 1  # or it warns on stderr of few vectors
    quantizer.cp.seed = setting.seed
    quantizer.train(setting.public)
    return lambda x: quantizer.decode(quantizer.compute_codes(np.ascontiguousarray(x, "f4")))


DEFENCES: dict[str, Entry] = {
    "noise": Entry(
        _noise,
        "the standard deviation of Gaussian noise on each number",
        lambda value, dim: value >= 0,
        drawn=True,
    ),
    "int8": Entry(lambda _, setting: lambda x: (127 * x / np.abs(x).max(1, keepdims=True)).round()),
    "bits": Entry(lambda _, setting: lambda x: np.where(x < 0, -1, 1).astype(np.float32)),
    "pq": Entry(
        _product_quantisation,
        "a number of parts that divides the dimension",
        lambda value, dim: value >= 1 and dim % value == 0,
    ),
    "truncate": Entry(
        lambda count, setting: _keep(slice(int(count)), setting),
        "a whole number of dimensions to keep",
        lambda value, dim: value == int(value) and 1 <= value <= dim,
    ),
    "mask": Entry(
        _mask, "the share of dimensions set to 0", lambda value, dim: 0 <= round(value * dim) < dim
    ),
    "scale": Entry(
        lambda factor, setting: lambda x: x * np.float32(factor),
        "a factor other than 0",
        lambda value, dim: value != 0,
    ),
    "rotation": Entry(_rotation, secret=True),
}
"""Only the rotation has a key. Vectors themselves show which dimensions are masked."""
