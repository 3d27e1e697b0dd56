"""What is read off a Sentence Transformers model: its prompt, its limits, its fingerprint."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from nanov2t.core.errors import UserError
from nanov2t.embedders.base import EmbedderInfo
from nanov2t.embedders.settings import EmbedderSettings

USUAL_LIMITS = {"43c2b4586e20b8cb": 256}
"""Of a model whose published limit is not the longest that its transformer takes, by its
fingerprint: all-MiniLM-L6-v2."""


def prompt_of(model: Any, name: str, settings: EmbedderSettings) -> str:
    """What is put in front of texts: as set, or the model's default."""
    if settings.prompt is not None:
        return settings.prompt
    chosen = settings.prompt_name or model.default_prompt_name
    if settings.prompt_name and chosen not in model.prompts:
        raise UserError(f"embedder {name}: no prompt {chosen}, only {', '.join(model.prompts)}")
    return (model.prompts[chosen] or "") if chosen else ""


def set_limit(model: Any, name: str, settings: EmbedderSettings) -> None:
    """Set where the model cuts texts off."""
    limit, longest = settings.max_tokens, longest_of(model)
    if limit is None:
        return
    if longest is not None and limit > longest:
        raise UserError(f"embedder {name}: takes {longest} tokens at most, not {limit}")
    model.max_seq_length = limit


def longest_of(model: Any) -> int | None:
    """The tokens that a transformer has positions for; None where it does not say."""
    transformer = getattr(model[0], "model", None)
    config = getattr(transformer, "config", None)
    positions = getattr(config, "max_position_embeddings", None) or getattr(
        config, "n_positions", None
    )
    if positions is None:
        return None
    # RoBERTa and its kin count positions from behind the padding token's id.
    padding = getattr(getattr(transformer, "embeddings", None), "padding_idx", None)
    return int(positions) - (0 if padding is None else int(padding) + 1)


def whole_dim_of(model: Any) -> int | None:
    """The dimension before anything is cut off."""
    with model.truncate_embeddings(None):
        dim: int | None = model.get_embedding_dimension()
    return dim


def fingerprint_of(model: Any, info: EmbedderInfo) -> str:
    """Hash of what makes the vectors: up to 4,096 values spread over each weight, the vocabulary,
    the modules; and what differs from the model as it is: its prompt, dimension and limit.

    Names and serialised settings stay out: they change with the libraries' versions, the vectors do
    not.
    """
    digest = hashlib.sha256()
    for _, weight in sorted(model.named_parameters()):
        flat = weight.detach().flatten()
        sample = flat[:: max(1, flat.numel() // 4096)].float().cpu().numpy()
        digest.update(f"{tuple(weight.shape)}".encode() + sample.tobytes())
    digest.update(json.dumps(sorted(model.tokenizer.get_vocab().items())).encode())
    for module in model:
        digest.update(f"{type(module).__name__} {getattr(module, 'pooling_mode', '')}".encode())
    changes: dict[str, Any] = {}
    if info.prompt:
        changes["prompt"] = [info.prompt, info.pools_prompt]
    if info.truncate_dim:
        changes["truncate_dim"] = info.truncate_dim
    usual_limit = USUAL_LIMITS.get(digest.hexdigest()[:16], longest_of(model))
    if info.max_tokens != usual_limit:
        changes["max_tokens"] = info.max_tokens
    if changes:
        digest.update(json.dumps(changes, sort_keys=True).encode())
    return digest.hexdigest()[:16]
