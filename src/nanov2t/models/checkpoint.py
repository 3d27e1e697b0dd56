"""Networks on disk: config.json and safetensors in one folder, in float or int8."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import dacite
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from nanov2t.core.errors import UserError, first_line
from nanov2t.core.files import replacing

MODEL, SCALE = "model.safetensors", ".int8_scale"
C = TypeVar("C")


def write_checkpoint(
    path: str | Path,
    config: Any,
    weights: Mapping[str, Tensor],
    tokenizer: Any = None,
    int8: bool = False,
    file: str = MODEL,
) -> None:
    """Write a network whole or not at all. `config` is a dataclass; `weights` have every shared
    tensor once; `int8` rounds matrices to 8 bits with a scale for each row, a quarter of the size.
    Raises a UserError if the folder cannot be written."""
    tensors = {name: weight.contiguous() for name, weight in weights.items()}
    for name, weight in weights.items():
        if int8 and weight.ndim == 2 and weight.numel() >= 4096:
            tensors[name], tensors[name + SCALE] = rounded(weight)
    with replacing(path) as folder:
        text = json.dumps(dataclasses.asdict(config), indent=2)
        (folder / "config.json").write_text(text + "\n", encoding="utf-8")
        save_file(tensors, folder / file)
        (folder / file).chmod(0o644)  # others may read what is shipped
        if tokenizer is not None:
            tokenizer.save_pretrained(folder)


def rounded(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """A matrix as int8, and the scale of each row."""
    scale = matrix.float().abs().amax(1).clamp(min=1e-12) / 127
    return torch.round(matrix.float() / scale[:, None]).to(torch.int8), scale


def read_values(path: Path, noun: str) -> dict[str, Any]:
    """config.json as a dictionary. If there is none, raises a UserError that calls it a `noun`."""
    if not (path / "config.json").is_file():
        raise UserError(f"{path}: not a {noun}: config.json is missing")
    try:
        return dict(json.loads((path / "config.json").read_text(encoding="utf-8")))
    except (ValueError, OSError, TypeError) as error:
        raise UserError(f"{path}: damaged {noun}: {first_line(error)}") from None


def to_config(kind: type[C], values: dict[str, Any], path: Path, noun: str) -> C:
    """The values of a config.json as a dataclass; a UserError if they do not fit."""
    try:
        return dacite.from_dict(kind, values, dacite.Config(strict=True))
    except dacite.DaciteError as error:
        raise UserError(f"{path}: damaged {noun}: {first_line(error)}") from None


def read_weights(path: Path, noun: str, file: str = MODEL) -> dict[str, Tensor]:
    """The float32 weights that :func:`write_checkpoint` wrote. Raises a UserError if they are
    missing or damaged."""
    if not (path / file).is_file():
        raise UserError(f"{path}: not a {noun}: {file} is missing")
    try:
        weights = load_file(path / file)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: damaged {noun}: {first_line(error)}") from None
    scales = {name: weights.pop(name) for name in list(weights) if name.endswith(SCALE)}
    floats = {name: weight.float() for name, weight in weights.items()}
    for name, scale in scales.items():
        floats[name.removesuffix(SCALE)] *= scale[:, None]
    return floats


def check_weights(
    expected: Mapping[str, Tensor], weights: Mapping[str, Tensor], source: str | Path
) -> None:
    """Raise a UserError if a weight from `source` is missing, unknown or of another shape."""
    wrong = sorted(set(expected) ^ set(weights)) or [
        name for name in expected if expected[name].shape != weights[name].shape
    ]
    if wrong:
        raise UserError(f"{source}: damaged: weight {wrong[0]} does not fit config.json")
