"""Checks that need no model, so that mistakes are reported before seconds of loading. What is wrong
is a UserError."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from nanov2t.core.errors import UserError, did_you_mean, first_line
from nanov2t.core.files import check_writable
from nanov2t.models.hub import locate
from nanov2t.pretrained import BUNDLED, RELEASES

WRITERS = ("hypothesizer", "model", "", "corrector")
"""Subfolders of an inverter that may hold a network; "" is the folder itself."""


class Facts(NamedTuple):
    """What the config files of an inverter say; None if they do not say it."""

    dim: int | None = None
    """Dimension of the vectors that it reads."""
    max_tokens: int | None = None
    """Length of the longest text that it writes."""
    looks_inside: bool = False
    """Whether it has a dictionary of its embedder's states."""


def at_least(command: Any, **least: int) -> None:
    """Refuse options of a command that are below their least value."""
    for name, low in least.items():
        given = getattr(command, name)
        for value in given if isinstance(given, tuple) else [given]:
            if value is not None and value < low:
                option = name.replace("_", "-")
                raise UserError(f"--{option} must be at least {low}, not {value}")


def check_inverter(name: str) -> Facts:
    """What is known of an inverter without loading it. There must be one of that name."""
    if name in RELEASES:
        return Facts()
    folder = BUNDLED.get(name) or locate(name)
    if not name or not folder.is_dir():
        known = [*BUNDLED, *RELEASES]
        hint = did_you_mean(name, known)
        names = ", ".join(known)
        raise UserError(f"inverter {name or repr(name)}: neither a folder nor one of {names}{hint}")
    configs = {part: folder / part / "config.json" for part in ("dictionary", *WRITERS)}
    found = {part: _config(path) for part, path in configs.items() if path.is_file()}
    if not found:
        raise UserError(f"{name}: not an inverter: config.json is missing")

    def first(key: str, parts: tuple[str, ...]) -> int | None:
        values = (found[part].get(key) for part in parts if part in found)
        return next((value for value in values if value and isinstance(value, int)), None)

    dim, max_tokens = first("dim", tuple(found)), first("max_tokens", WRITERS)
    return Facts(dim, max_tokens, "dictionary" in found)


def _config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path.parent}: damaged or not a generator: {first_line(error)}") from None
    return config if isinstance(config, dict) else {}


def check_embedder(spec: str | None) -> None:
    """Refuse an embedder's name that cannot be right."""
    if spec is None:
        return
    source = spec.partition("?")[0].partition("#")[0]
    if not source:
        raise UserError("the embedder: its name is empty")
    if ":" not in source and source.count("/") > 1 and not Path(source).is_dir():
        raise UserError(f"embedder {source}: no such folder")


def check_dim(source: str, shape: tuple[int, ...], inverter: str, known: Facts) -> None:
    """Refuse vectors [n, dim] of another dimension than the inverter reads."""
    rows, dim = shape
    if known.dim not in (None, dim):
        name = source.rpartition("@")[2]  # a URL may have a password before the @
        hint = "; name the model that made them with --embedder"
        if rows == known.dim:
            hint = f": {rows} rows of {dim}, transposed?"
        raise UserError(
            f"{name}: vectors of {dim} dimensions, but inverter {inverter} reads {known.dim}{hint}"
        )


def check_new(folder: Path) -> None:
    """Refuse a folder that cannot be made or is not empty."""
    check_writable(folder)
    if folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"{folder}: holds files already: name another folder, or delete it")
