"""The engine's networks on disk. Their weights hold neither the embedder's words nor its
dictionary, which they read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nanov2t.core.errors import UserError
from nanov2t.embedders.base import Embedder
from nanov2t.models import checkpoint as disk
from nanov2t.models.dictionary import Dictionary
from nanov2t.models.edit_network import EditNetwork
from nanov2t.models.prefix_lm import PrefixLM
from nanov2t.models.trunk import NetworkShape

KINDS: dict[str, Any] = {"prefix_lm": PrefixLM, "edit_network": EditNetwork}
"""Classes by the `kind` in config.json."""


def kind_of(path: Path) -> str | None:
    """Which kind of network a folder holds, if any."""
    try:
        kind = disk.read_values(path, "network").get("kind")
    except UserError:
        return None
    return kind if kind in KINDS else None


def save_network(network: Any, path: str | Path, int8: bool = False) -> None:
    """See :func:`~nanov2t.models.checkpoint.write_checkpoint`."""
    disk.write_checkpoint(path, network.config, network.unique_weights(), int8=int8)


def load_network(path: Path, embedder: Embedder, dictionary: Dictionary, kind: str = "") -> Any:
    """Read a network, of a `kind` if given, to float32 on the CPU, in eval mode. Raises a UserError
    if it is missing, damaged or of another kind."""
    network = read_network(path)
    if kind not in ("", network.config.kind):
        raise UserError(f"{path}: holds a {network.config.kind}")
    network.trunk.read_words(embedder)
    network.read_dictionary(dictionary)
    return network.eval()


def read_network(path: Path) -> Any:
    """As :func:`load_network`, but without the embedder's words and its dictionary."""
    kind = kind_of(path)
    if kind is None:
        raise UserError(f"{path}: not a network: config.json is missing or of another kind")
    values = disk.read_values(path, "network")
    network = KINDS[kind](disk.to_config(NetworkShape, values, path, "network"))
    weights = disk.read_weights(path, "network")
    disk.check_weights(network.state_dict(), weights, path)
    network.load_state_dict(weights)
    return network
