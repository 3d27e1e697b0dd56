"""The settings of an embedder, and how spec strings carry them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote

from nanov2t.core.errors import UserError


@dataclass(frozen=True)
class EmbedderSettings:
    """Settings of the user; None leaves the model's own."""

    prompt: str | None = None
    """Put before every text, such as ``passage: ``; empty for none."""
    prompt_name: str | None = None
    """The name of one of the model's prompts."""
    truncate_dim: int | None = None
    """Number of first dimensions to keep (Matryoshka embeddings)."""
    max_tokens: int | None = None
    """Most tokens of a text, including special tokens and the prompt."""

    def __post_init__(self) -> None:
        if self.prompt is not None and self.prompt_name is not None:
            raise UserError("embedder: give a prompt or a prompt_name, not both")
        for name in ("truncate_dim", "max_tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"embedder: {name} must be at least 1, not {value}")

    def write(self, name: str) -> str:
        """The spec string of an embedder with these settings, for :func:`parse_spec`."""
        given = {k: v for k, v in dataclasses.asdict(self).items() if v is not None}
        pairs = [f"{key}={quote(str(value), safe=':/,')}" for key, value in given.items()]
        return "?".join([name, *(["&".join(pairs)] if pairs else [])])


UNCHANGED = EmbedderSettings()


def parse_spec(spec: str) -> tuple[str, EmbedderSettings]:
    """Split ``NAME?prompt=passage: &truncate_dim=256`` into the name and the settings. As in a URL,
    a blank may be %20, and &, %, + and # must be %26, %25, %2B and %23.

    Raises:
        UserError: the setting does not exist, or its value has the wrong type.
    """
    name, mark, query = spec.partition("?")
    if not mark or Path(spec).is_dir():
        return spec, UNCHANGED
    if "#" in query:
        raise UserError(f"embedder {name}: write #mean before the ?, and %23 for a # after it")
    known = [field.name for field in dataclasses.fields(EmbedderSettings)]
    values: dict[str, Any] = {}
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key not in known:
            if name.startswith("openai:"):
                return spec, UNCHANGED  # part of a URL; it may hold a key, so no error quotes it
            raise UserError(f"embedder {name}: no setting {key}, only {', '.join(known)}")
        if key in values:
            raise UserError(f"embedder {name}: {key} is set twice")
        values[key] = value if key.startswith("prompt") else _number(name, key, value)
    return name, EmbedderSettings(**values)


def _number(name: str, key: str, value: str) -> int:
    if not value.isdecimal():
        raise UserError(f"embedder {name}: {key} must be a whole number, not {value!r}")
    return int(value)
