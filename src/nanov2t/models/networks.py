"""Networks that start from an embedder, on disk: config.json and model.safetensors; the embedder's
words and its dictionary, which they read, are not among their weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dacite
from torch import nn

from nanov2t.core.errors import UserError, first_line
from nanov2t.embedders.base import Embedder
from nanov2t.models.checkpoint import read_weights, write_checkpoint
from nanov2t.models.dictionary import Dictionary
from nanov2t.models.edit_network import EditConfig, EditNetwork
from nanov2t.models.prefix_lm import PrefixConfig, PrefixLM

KINDS: dict[str, tuple[type[Any], type[Any]]] = {
    "prefix_lm": (PrefixConfig, PrefixLM),
    "edit_network": (EditConfig, EditNetwork),
}
"""Their configs and classes by the `kind` in config.json."""

Network = PrefixLM | EditNetwork


def kind_of(path: Path) -> str | None:
    """Which kind of network a folder holds, if any."""
    try:
        values = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    kind = values.get("kind") if isinstance(values, dict) else None
    return kind if kind in KINDS else None


def save_network(network: Network, path: str | Path, int8: bool = False) -> None:
    """Write a network whole or not at all; with `int8` its matrices in 8 bits, to ship.

    Raises:
        UserError: the folder cannot be written.
    """
    weights = {name: weight.contiguous() for name, weight in network.state_dict().items()}
    write_checkpoint(path, network.config, weights, int8=int8)


def load_network(path: Path, embedder: Embedder, dictionary: Dictionary) -> Network:
    """Read a network, float or int8, to float32 on the CPU, in eval mode.

    Raises:
        UserError: the folder is missing, incomplete or damaged.
    """
    network = read_network(path)
    network.trunk.read_words(embedder)
    network.read_dictionary(dictionary)
    return network.eval()


def read_network(path: Path) -> Network:
    """The same without the embedder's words and its dictionary: its own weights alone."""
    kind = kind_of(path)
    if kind is None:
        raise UserError(f"{path}: not a network: config.json is missing or of another kind")
    config_class, network_class = KINDS[kind]
    try:
        values = json.loads((path / "config.json").read_text(encoding="utf-8"))
        config = dacite.from_dict(config_class, values, dacite.Config(strict=True))
    except (dacite.DaciteError, ValueError) as error:
        raise UserError(f"{path}: damaged: {first_line(error)}") from None
    network: Network = network_class(config)
    fill(network, read_weights(path), path)
    return network


def fill(network: nn.Module, weights: dict[str, Any], path: Path) -> None:
    """Put weights into a network.

    Raises:
        UserError: a weight is missing, unknown or of another shape; `path` names their source.
    """
    expected = network.state_dict()
    wrong = sorted(set(expected) ^ set(weights)) or [
        name for name in expected if expected[name].shape != weights[name].shape
    ]
    if wrong:
        raise UserError(f"{path}: damaged: weight {wrong[0]} does not fit config.json")
    network.load_state_dict(weights)
