"""The engine's networks on disk. The embedder's words and its dictionary, which they read, are not
among their weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dacite

from nanov2t.core.errors import UserError, first_line
from nanov2t.embedders.base import Embedder
from nanov2t.models.checkpoint import check_weights, read_weights, write_checkpoint
from nanov2t.models.dictionary import Dictionary
from nanov2t.models.edit_network import EditConfig, EditNetwork
from nanov2t.models.prefix_lm import PrefixConfig, PrefixLM

KINDS: dict[str, tuple[type[Any], type[Any]]] = {
    "prefix_lm": (PrefixConfig, PrefixLM),
    "edit_network": (EditConfig, EditNetwork),
}
"""Configs and classes by the `kind` in config.json."""

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
    """Write a network whole or not at all; `int8` rounds its matrices to 8 bits.

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
    """As :func:`load_network`, but without the embedder's words and its dictionary."""
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
    weights = read_weights(path)
    check_weights(network.state_dict(), weights, path)
    network.load_state_dict(weights)
    return network
