"""What is refused before anything is loaded, which takes seconds. Free of torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from nanov2t.core.errors import UserError, did_you_mean, first_line
from nanov2t.models.hub import locate
from nanov2t.pretrained import BUNDLED, RELEASES


class Facts(NamedTuple):
    """What an inverter's folder says of it; None where it does not say."""

    dim: int | None = None
    """Of the vectors that it reads."""
    max_tokens: int | None = None
    """Of the longest text that it writes."""
    looks_inside: bool = False
    """Whether it looks inside its embedder, by a dictionary of its states."""


def at_least(command: Any, **least: int) -> None:
    """Refuse numbers of a command below the least that they may be."""
    for name, low in least.items():
        given = getattr(command, name)
        for value in given if isinstance(given, tuple) else [given]:
            if value is not None and value < low:
                option = name.replace("_", "-")
                raise UserError(f"--{option} must be at least {low}, not {value}")


def check_inverter(name: str) -> Facts:
    """What is known of an inverter before it is loaded.

    Raises:
        UserError: there is none of that name.
    """
    if name in RELEASES:
        return Facts()
    folder = BUNDLED.get(name) or locate(name)
    known = [*BUNDLED, *RELEASES]
    if not name or not folder.is_dir():
        hint = did_you_mean(name, known)
        names = ", ".join(known)
        raise UserError(f"inverter {name or repr(name)}: neither a folder nor one of {names}{hint}")
    configs = {part: folder / part / "config.json" for part in PARTS}
    found = {part: _read(path) for part, path in configs.items() if path.is_file()}
    if not found:
        raise UserError(f"{name}: not an inverter: config.json is missing")
    dims = [_whole(config.get("dim")) for config in found.values()]
    tokens = [_whole(config.get("max_tokens")) for part, config in found.items() if part in WRITERS]
    return Facts(
        next(filter(None, dims), None), next(filter(None, tokens), None), "dictionary" in found
    )


def check_embedder(spec: str | None) -> None:
    """Refuse the name of an embedder that cannot be one's."""
    if spec is None:
        return
    source = spec.partition("?")[0].partition("#")[0]
    if not source:
        raise UserError("the embedder: its name is empty")
    if ":" not in source and source.count("/") > 1 and not Path(source).is_dir():
        raise UserError(f"embedder {source}: no such folder")


def check_dim(source: str, shape: tuple[int, ...], inverter: str, known: Facts) -> None:
    """Refuse vectors [n, dim] of another dimension than those that an inverter reads."""
    rows, dim = shape
    if known.dim not in (None, dim):
        name = source.rpartition("@")[2]  # what stands before may be a password
        hint = "; name the model that made them with --embedder"
        if rows == known.dim:
            hint = f": {rows} rows of {dim}, transposed?"
        raise UserError(
            f"{name}: vectors of {dim} dimensions, but inverter {inverter} reads {known.dim}{hint}"
        )


WRITERS = ("hypothesizer", "model", "", "corrector")
PARTS = ("dictionary", *WRITERS)
"""Subfolders with a config.json, the folder itself among them, those that writers may be in
apart."""


def _read(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path.parent}: damaged or not a generator: {first_line(error)}") from None
    return config if isinstance(config, dict) else {}


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def check_new(folder: Path) -> None:
    """Refuse a folder that cannot be made, or that holds something already."""
    from nanov2t.core.files import check_writable

    check_writable(folder)
    if folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"{folder}: holds files already: name another folder, or delete it")
