"""What the trainings of the engine's networks begin with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from nanov2t.core.errors import UserError
from nanov2t.embedders.base import Embedder
from nanov2t.embedders.registry import load_embedder
from nanov2t.models.dictionary import Dictionary
from nanov2t.models.edit_network import EditConfig, EditNetwork
from nanov2t.models.hub import network_folder
from nanov2t.models.networks import Network, load_network
from nanov2t.models.prefix_lm import PrefixConfig, PrefixLM
from nanov2t.models.trunk import trunk_config
from nanov2t.pretrained import BUNDLED
from nanov2t.train.config import NetworkConfig

LONGER = 8
"""Words by which a draft may exceed the longest text."""
N = TypeVar("N", bound=nn.Module)


def part_of(name: str, part: str) -> Path:
    """The folder of the network, or dictionary, that a recipe names."""
    return network_folder(BUNDLED.get(name) or Path(name), part)


def load_studied(config: NetworkConfig, device: torch.device) -> tuple[Embedder, Dictionary]:
    """The embedder of a recipe and its dictionary.

    Raises:
        UserError: they are missing, do not fit together, or the texts are too long for them.
    """
    embedder = load_embedder(config.embedder, device)
    if not embedder.has_states:
        raise UserError(f"{embedder.name}: does not show hidden states whose mean is its vector")
    dictionary = Dictionary.load(part_of(config.dictionary, "dictionary"))
    if dictionary.embedder.fingerprint != embedder.info.fingerprint:
        raise UserError(
            f"dictionary {config.dictionary} is of {dictionary.embedder.name}, not of "
            f"{embedder.name}: make one by `nanov2t study`"
        )
    room = trunk_config(embedder).positions - LONGER - 2
    if config.data.max_tokens > min(room, embedder.max_tokens - LONGER - 2):
        raise UserError(f"data.max_tokens: at most {room} for {embedder.name}")
    return embedder, dictionary


def build_network(
    kind: type[N], config: NetworkConfig, embedder: Embedder, dictionary: Dictionary
) -> N:
    """The network a run starts from: the one in ``config.init``, or the embedder's own layers.

    Raises:
        UserError: there is no such network, or it is of another kind or embedder.
    """
    if config.init:
        part = "hypothesizer" if kind is PrefixLM else "corrector"
        return load_kind(kind, part_of(config.init, part), embedder, dictionary)
    shape: dict[str, Any] = {
        "trunk": trunk_config(embedder),
        "dim": embedder.dim,
        "embedder": embedder.info,
        "max_tokens": config.data.max_tokens,
    }
    network: Network
    if kind is PrefixLM:
        network = PrefixLM(PrefixConfig(**shape))
    else:
        network = EditNetwork(EditConfig(**shape))
    network.bias.data.copy_(0.5 * dictionary.log_frequency)
    network.trunk.start_from(embedder)
    network.read_dictionary(dictionary)
    assert isinstance(network, kind)
    return network


def load_kind(kind: type[N], path: Path, embedder: Embedder, dictionary: Dictionary) -> N:
    """The network in a folder.

    Raises:
        UserError: there is none, or it is of another kind or embedder.
    """
    network = load_network(path, embedder, dictionary)
    if not isinstance(network, kind):
        raise UserError(f"{path}: holds a {network.config.kind}")
    if network.config.embedder.fingerprint != embedder.info.fingerprint:
        raise UserError(
            f"{path}: was trained for {network.config.embedder.name}, not for {embedder.name}"
        )
    return network


def pace(config: NetworkConfig) -> Callable[[str], float]:
    """The factor on a weight's learning rate, lower for weights that start as the embedder's."""
    return lambda name: 1.0 if ".trunk." in name else config.optim.head_lr
