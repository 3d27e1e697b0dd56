"""Generators on disk: ours, and those that nanoV2T and vec2text published.

Published formats are told apart by ``architectures`` in config.json: nanoV2T's ``T5Generator``, and
vec2text's ``InversionModel`` (hypothesizers) and ``CorrectorEncoderModel`` (correctors). Their
weights are renamed, and every size is read off the weights' shapes, so the T5 that a config names
is never needed.
"""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dacite
import torch
from safetensors import safe_open
from torch import Tensor
from transformers import T5Config

from nanov2t.core.errors import UserError, first_line
from nanov2t.embedders.base import EmbedderInfo
from nanov2t.models.checkpoint import read_weights
from nanov2t.models.hub import PICKLED, WEIGHTS, locate
from nanov2t.t5.config import GeneratorConfig

NAMES = {
    "T5Generator": {
        "target_projector.projector.": "target_projector.",
        "draft_projector.projector.": "draft_projector.",
        "diff_projector.projector.": "difference_projector.",
        "proj_ln.": "norm.",
        "": "t5.",
    },
    "InversionModel": {"encoder_decoder.": "t5.", "embedding_transform.": "target_projector."},
    "CorrectorEncoderModel": {
        "encoder_decoder.": "t5.",
        "embedding_transform_1.": "target_projector.",
        "embedding_transform_2.": "difference_projector.",
        "embedding_transform_3.": "draft_projector.",
        "layernorm.": "norm.",
    },
}
"""For each format the prefixes of its weights' names, and ours."""


def _info(name: str, dim: int, max_tokens: int, normalized: bool) -> EmbedderInfo:
    # The published checkpoints name their embedder, but hold no fingerprint of it.
    return EmbedderInfo(name, dim, max_tokens, normalized, lowercase=False, fingerprint="")


GTR_MEAN = _info("sentence-transformers/gtr-t5-base#mean", 768, 512, normalized=False)
GTR = _info("sentence-transformers/gtr-t5-base", 768, 512, normalized=True)
ADA = _info("openai:text-embedding-ada-002", 1536, 8191, normalized=True)

EMBEDDERS = {"gtr_base": GTR_MEAN, "gtr_base_st": GTR, GTR.name: GTR, "text-embedding-ada-002": ADA}
"""By the names in published configs. vec2text's `gtr_base` is GTR without its last two modules;
its vectors are unrelated to those of `gtr_base_st`."""


@dataclass(frozen=True)
class Release:
    """Published checkpoints that belong together."""

    corrector: str
    hypothesizer: str | None
    """None where none was published: searches then start from an empty draft."""
    embedder: EmbedderInfo


RELEASES = {
    "gtr-nq32": Release("jxm/gtr__nq__32__correct", "jxm/gtr__nq__32", GTR_MEAN),
    "gtr-st-nq32": Release("Hannibal046/gtr_t5_nq_32_stage2", None, GTR),
    "gtr-st-nq32-ielab": Release("ielabgroup/vec2text_gtr-base-st_corrector", None, GTR),
    "ada-002": Release(
        "jxm/vec2text__openai_ada002__msmarco__msl128__corrector",
        "jxm/vec2text__openai_ada002__msmarco__msl128__hypothesizer",
        ADA,
    ),
}


def release_of(name: str) -> Release | None:
    """The release of that name, or with a checkpoint of that name."""
    return next(
        (r for short, r in RELEASES.items() if name in (short, r.corrector, r.hypothesizer)), None
    )


def read_checkpoint(path: str | Path) -> tuple[GeneratorConfig, dict[str, Tensor]]:
    """The config and the float32 weights of a generator, float or int8, ours or published.

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
        if format_ := _published_format(values):
            return _read_published(path, values, format_)
        if values.pop("lexical", False):  # older checkpoints say whether they have one
            raise UserError(f"{path}: its lexical head is no longer supported")
        config = dacite.from_dict(GeneratorConfig, values, dacite.Config(strict=True))
    except (dacite.DaciteError, ValueError, OSError) as error:
        raise UserError(f"{path}: damaged or not a generator: {first_line(error)}") from None
    return config, read_weights(path)


def load_tokenizer(path: str | Path) -> Any:
    """The tokenizer saved beside a generator, or that of the T5 that a published generator names.

    Raises:
        UserError: there is none, or it cannot be read.
    """
    from transformers import AutoTokenizer

    path = locate(path)
    names, config = [str(path)], path / "config.json"
    saved = any((path / name).is_file() for name in ("tokenizer.json", "spiece.model"))
    if config.is_file() and not saved:
        values = json.loads(config.read_text(encoding="utf-8"))
        names = _tokenizer_names(path, values) if _published_format(values) else names
    reason = ""
    for name in names:
        try:
            return AutoTokenizer.from_pretrained(name, local_files_only=Path(name).is_dir())
        except (OSError, ValueError) as error:
            reason = reason or first_line(error)
    raise UserError(f"{path}: no tokenizer: {reason}")


def _published_format(values: dict[str, Any]) -> str | None:
    return next((name for name in values.get("architectures") or () if name in NAMES), None)


def _read_published(
    folder: Path, values: dict[str, Any], format_: str
) -> tuple[GeneratorConfig, dict[str, Tensor]]:
    weights = _read_weights(folder, NAMES[format_])
    _untie(weights)
    try:
        width, dim = weights["target_projector.0.weight"].shape
        t5 = _t5_config(weights)
        corrects = "draft_projector.0.weight" in weights
        # vec2text counts the closing token among a text's tokens. nanoV2T does not, and always
        # takes 32.
        max_tokens = 32 if format_ == "T5Generator" else int(values["max_seq_length"]) - 1
        config = GeneratorConfig(
            t5=t5.to_diff_dict(),
            dim=dim,
            projector_width=width,
            projector_dropout=t5.dropout_rate,
            pseudo_tokens=len(weights["target_projector.3.weight"]) // t5.d_model,
            layer_norm="norm.weight" in weights,
            hypothesizes=not corrects,
            corrects=corrects,
            feedback=not values.get("corrector_ignore_hypothesis_embedding", False),
            sep_token_id=t5.eos_token_id,
            max_tokens=max_tokens,
            reads_written=format_ != "T5Generator",
            embedder=_embedder(values, dim),
        )
    except KeyError as error:
        raise UserError(f"{folder}: damaged or not a {format_}: {error} is missing") from None
    except (TypeError, ValueError) as error:
        raise UserError(f"{folder}: damaged or not a {format_}: {error}") from None
    return config, weights


def _tokenizer_names(folder: Path, values: dict[str, Any]) -> list[str]:
    name = values.get("model_name_or_path") or "google-t5/t5-base"
    beside = folder.parent / name
    return (
        [str(beside)] if beside.is_dir() else [name] if "/" in name else [name, f"google-t5/{name}"]
    )


def _embedder(values: dict[str, Any], dim: int) -> EmbedderInfo | None:
    # For an API, vec2text's embedder_model_name only names a tokenizer.
    names = (
        values.get(key)
        for key in ("embedder_model_api", "embedder_model_name", "embedder_name_or_path")
    )
    info = EMBEDDERS.get(next(filter(None, names), ""))
    return info if info and info.dim == dim else None


def _read_weights(folder: Path, names: dict[str, str]) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = {}

    def take(name: str, read: Callable[[str], Any]) -> None:
        if not name.startswith("embedder."):
            old = next((old for old in names if name.startswith(old)), None)
            ours = name if old is None else names[old] + name.removeprefix(old)
            weights[ours] = read(name).float()

    try:
        for path in sorted(folder.glob(WEIGHTS)):
            with safe_open(path, "pt") as file:
                for name in list(file.keys()):
                    take(name, file.get_tensor)
        for path in [] if weights else sorted(folder.glob(PICKLED)):
            pickled = torch.load(path, map_location="cpu", weights_only=True)
            for name in pickled:
                take(name, pickled.get)
    except pickle.UnpicklingError:
        raise UserError(
            f"{path}: holds more than weights, which would run as code: not read"
        ) from None
    except Exception as error:  # safetensors and torch raise whatever a damaged file leads them to
        raise UserError(f"{path}: damaged: {first_line(error)}") from None
    if not weights:
        raise UserError(f"{folder}: not a generator: model.safetensors is missing")
    return weights


def _untie(weights: dict[str, Tensor]) -> None:
    names = [
        f"t5.{name}.weight"
        for name in ("shared", "encoder.embed_tokens", "decoder.embed_tokens", "lm_head")
    ]
    present = [name for name in names if name in weights]
    if not present:
        return
    words = weights["t5.shared.weight"] = weights[present[0]]
    for name in names[1:]:
        if name in weights and (name != names[-1] or torch.equal(weights[name], words)):
            del weights[name]


def _t5_config(weights: dict[str, Tensor]) -> T5Config:
    attention = "t5.encoder.block.0.layer.0.SelfAttention."
    vocabulary, d_model = weights["t5.shared.weight"].shape
    buckets, heads = weights[attention + "relative_attention_bias.weight"].shape
    gated = "t5.encoder.block.0.layer.1.DenseReluDense.wi_0.weight" in weights
    untied = "t5.lm_head.weight" in weights

    def layers(part: str) -> int:
        return 1 + max(
            int(m[1]) for m in map(re.compile(rf"t5\.{part}\.block\.(\d+)\.").match, weights) if m
        )

    return T5Config(
        vocab_size=vocabulary,
        d_model=d_model,
        d_kv=len(weights[attention + "q.weight"]) // heads,
        num_heads=heads,
        d_ff=weights["t5.encoder.block.0.layer.1.DenseReluDense.wo.weight"].shape[1],
        num_layers=layers("encoder"),
        num_decoder_layers=layers("decoder"),
        relative_attention_num_buckets=buckets,
        feed_forward_proj="gated-gelu" if gated else "relu",
        decoder_start_token_id=0,
        tie_word_embeddings=not untied,
    )
