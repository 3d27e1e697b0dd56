"""Generators on disk: config.json, model.safetensors and the tokenizer in one folder; float, or
int8 to ship."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import dacite
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from nanov2t.core.errors import UserError, first_line
from nanov2t.core.files import replacing
from nanov2t.models.config import GeneratorConfig
from nanov2t.models.hub import locate
from nanov2t.models.published import published_format, read_published, tokenizer_names

SCALE = ".int8_scale"


def write_checkpoint(
    path: str | Path,
    config: Any,
    weights: dict[str, Tensor],
    tokenizer: Any = None,
    int8: bool = False,
) -> None:
    """Write a generator or another network whole or not at all.

    Args:
        config: a dataclass.
        weights: every shared tensor once.
        tokenizer: saved with it when given.
        int8: round the matrices to 8 bits, a scale per row; a quarter of the size, for shipping.

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


def read_checkpoint(path: str | Path) -> tuple[GeneratorConfig, dict[str, Tensor]]:
    """The config and the float32 weights of a generator, float or int8, ours or published by
    others.

    Args:
        path: its folder, or its name on the Hub.

    Raises:
        UserError: the folder is missing, incomplete or damaged.
    """
    path = locate(path)
    if not (path / "config.json").is_file():
        raise UserError(f"{path}: not a generator: config.json is missing")
    try:
        values = json.loads((path / "config.json").read_text(encoding="utf-8"))
        if published_format(values):
            return read_published(path, values)
        config = dacite.from_dict(GeneratorConfig, values, dacite.Config(strict=True))
    except (dacite.DaciteError, ValueError, OSError) as error:
        raise UserError(f"{path}: damaged or not a generator: {first_line(error)}") from None
    return config, read_weights(path)


def read_weights(path: Path) -> dict[str, Tensor]:
    """The float32 weights in a folder that :func:`write_checkpoint` wrote.

    Raises:
        UserError: they are missing or damaged.
    """
    if not (path / "model.safetensors").is_file():
        raise UserError(f"{path}: not a generator: model.safetensors is missing")
    try:
        return _dequantize(load_file(path / "model.safetensors"))
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: damaged or not a generator: {first_line(error)}") from None


def load_tokenizer(path: str | Path) -> Any:
    """The tokenizer saved beside a generator, or that of the T5 which a published generator without
    one names.

    Raises:
        UserError: there is none, or it cannot be read.
    """
    from transformers import AutoTokenizer

    path = locate(path)
    names, config = [str(path)], path / "config.json"
    if config.is_file() and not any(
        (path / name).is_file() for name in ("tokenizer.json", "spiece.model")
    ):
        values = json.loads(config.read_text(encoding="utf-8"))
        names = tokenizer_names(path, values) if published_format(values) else names
    reason = ""
    for name in names:
        try:
            return AutoTokenizer.from_pretrained(name, local_files_only=Path(name).is_dir())
        except (OSError, ValueError) as error:
            reason = reason or first_line(error)
    raise UserError(f"{path}: no tokenizer: {reason}")


def _quantize(name: str, weight: Tensor) -> list[tuple[str, Tensor]]:
    if weight.ndim != 2 or weight.numel() < 4096:
        return [(name, weight)]
    scale = weight.float().abs().amax(1).clamp(min=1e-12) / 127
    return [
        (name, torch.round(weight.float() / scale[:, None]).to(torch.int8)),
        (name + SCALE, scale),
    ]


def _dequantize(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name: weight.float() * weights[name + SCALE][:, None]
        if name + SCALE in weights
        else weight.float()
        for name, weight in weights.items()
        if not name.endswith(SCALE)
    }
