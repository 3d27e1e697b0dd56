"""Networks on disk: config.json and model.safetensors in one folder, in float or int8."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from nanov2t.core.errors import UserError, first_line
from nanov2t.core.files import replacing

SCALE = ".int8_scale"


def write_checkpoint(
    path: str | Path,
    config: Any,
    weights: dict[str, Tensor],
    tokenizer: Any = None,
    int8: bool = False,
) -> None:
    """Write a network whole or not at all.

    Args:
        config: a dataclass.
        weights: every shared tensor once.
        tokenizer: saved beside it if given.
        int8: round the matrices to 8 bits with a scale per row, a quarter of the size.

    Raises:
        UserError: the folder cannot be written.
    """
    if int8:
        weights = dict(item for name, weight in weights.items() for item in _quantize(name, weight))
    with replacing(path) as folder:
        text = json.dumps(dataclasses.asdict(config), indent=2)
        (folder / "config.json").write_text(text + "\n", encoding="utf-8")
        save_file(weights, folder / "model.safetensors")
        (folder / "model.safetensors").chmod(0o644)  # others may read what is shipped
        if tokenizer is not None:
            tokenizer.save_pretrained(folder)


def read_weights(path: Path) -> dict[str, Tensor]:
    """The float32 weights in a folder that :func:`write_checkpoint` wrote.

    Raises:
        UserError: they are missing or damaged.
    """
    if not (path / "model.safetensors").is_file():
        raise UserError(f"{path}: not a generator: model.safetensors is missing")
    try:
        weights = load_file(path / "model.safetensors")
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: damaged or not a generator: {first_line(error)}") from None
    return {
        name: weight.float() * weights[name + SCALE][:, None]
        if name + SCALE in weights
        else weight.float()
        for name, weight in weights.items()
        if not name.endswith(SCALE)
    }


def check_weights(
    expected: Mapping[str, Tensor], weights: Mapping[str, Tensor], source: str | Path
) -> None:
    """Refuse weights that do not fit a network.

    Raises:
        UserError: one is missing, unknown or of another shape; `source` names where they are from.
    """
    wrong = sorted(set(expected) ^ set(weights)) or [
        name for name in expected if expected[name].shape != weights[name].shape
    ]
    if wrong:
        raise UserError(f"{source}: damaged: weight {wrong[0]} does not fit config.json")


def _quantize(name: str, weight: Tensor) -> list[tuple[str, Tensor]]:
    if weight.ndim != 2 or weight.numel() < 4096:
        return [(name, weight)]
    scale = weight.float().abs().amax(1).clamp(min=1e-12) / 127
    return [
        (name, torch.round(weight.float() / scale[:, None]).to(torch.int8)),
        (name + SCALE, scale),
    ]
