"""Generators on disk: ours, and those that nanoV2T and vec2text published.

``architectures`` in config.json tells the published formats apart: nanoV2T's ``T5Generator``, and
vec2text's ``InversionModel`` (hypothesizers) and ``CorrectorEncoderModel`` (correctors). Their
weights are renamed. Every size is read from the weights' shapes, so the T5 that a config names is
not needed.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoTokenizer, T5Config

from nanov2t.core.errors import UserError, first_line
from nanov2t.embedders.base import EmbedderInfo
from nanov2t.models.checkpoint import read_values, read_weights, to_config
from nanov2t.models.hub import PICKLED, WEIGHTS, locate


@dataclass(frozen=True)
class GeneratorConfig:
    """The shape of a Generator; saved as its config.json."""

    t5: dict[str, Any]  # a transformers T5Config as a dictionary
    dim: int  # dimension of the vectors it inverts
    pseudo_tokens: int = 16  # encoder positions that one projected vector fills
    projector_width: int = 0  # hidden width of the projectors; 0 is the T5's d_model
    projector_dropout: float = 0.0
    vector_scale: float = 1.0  # factor on the vectors before they are projected
    layer_norm: bool = True  # normalise the whole encoder input
    hypothesizes: bool = True  # can write from the vector alone
    corrects: bool = False  # can rewrite a draft
    feedback: bool = True
    """Sees the vectors of drafts. Without, it sees the target's in the place of each."""
    sep_token_id: int = 1
    max_tokens: int = 32  # longest text it writes, in its own tokens, special tokens not counted
    reads_written: bool = False
    """As in vec2text's loop, read drafts as they were written, behind the masked start token, and
    write a text of `max_tokens` without a closing token."""
    embedder: EmbedderInfo | None = None

    @property
    def max_length(self) -> int:
        """Tokens it writes at most, with the start token and, if it fits, the closing one."""
        return self.max_tokens + (1 if self.reads_written else 2)


NAMES = {
    "T5Generator": {
        "target_projector.projector.": "target_projector.",
        "draft_projector.projector.": "draft_projector.",
        "diff_projector.projector.": "difference_projector.",
        "proj_ln.": "norm.",
        "": "t5.",
    },
    "InversionModel": {
        "encoder_decoder.": "t5.",
        "embedding_transform.": "target_projector.",
        "": "",
    },
    "CorrectorEncoderModel": {
        "encoder_decoder.": "t5.",
        "embedding_transform_1.": "target_projector.",
        "embedding_transform_2.": "difference_projector.",
        "embedding_transform_3.": "draft_projector.",
        "layernorm.": "norm.",
        "": "",
    },
}
"""The prefixes of the weights' names in each format, and ours."""

# They do not lower-case. The published checkpoints hold no fingerprints.
GTR_MEAN = EmbedderInfo("sentence-transformers/gtr-t5-base#mean", 768, 512, False, False, "")
GTR = EmbedderInfo("sentence-transformers/gtr-t5-base", 768, 512, True, False, "")
ADA = EmbedderInfo("openai:text-embedding-ada-002", 1536, 8191, True, False, "")
EMBEDDERS = {"gtr_base": GTR_MEAN, "gtr_base_st": GTR, GTR.name: GTR, "text-embedding-ada-002": ADA}
"""By their names in published configs. vec2text's `gtr_base` is GTR without its last two modules:
its vectors are unrelated to those of `gtr_base_st`."""


class Release(NamedTuple):
    """Published checkpoints that belong together."""

    corrector: str
    hypothesizer: str | None  # None if none was published: searches start from an empty draft
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
    found = (r for short, r in RELEASES.items() if name in (short, r.corrector, r.hypothesizer))
    return next(found, None)


def read_checkpoint(path: str | Path) -> tuple[GeneratorConfig, dict[str, Tensor]]:
    """The config and the float32 weights of a generator, by its folder or Hub name. Raises a
    UserError if it is missing, incomplete or damaged."""
    path = locate(path)
    values = read_values(path, "generator")
    if format_ := _published_format(values):
        return _read_published(path, values, format_)
    if values.pop("lexical", False):  # older checkpoints say whether they have one
        raise UserError(f"{path}: its lexical head is no longer supported")
    config = to_config(GeneratorConfig, values, path, "generator")
    return config, read_weights(path, "generator")


def load_tokenizer(path: str | Path) -> Any:
    """The tokenizer saved beside a generator, or that of the T5 that a published generator names.
    Raises a UserError if there is none."""
    path = locate(path)
    names, config = [str(path)], path / "config.json"
    saved = any((path / name).is_file() for name in ("tokenizer.json", "spiece.model"))
    if not saved and config.is_file() and _published_format(read_values(path, "generator")):
        name = read_values(path, "generator").get("model_name_or_path") or "google-t5/t5-base"
        names = [name] if "/" in name else [name, f"google-t5/{name}"]
        if (path.parent / name).is_dir():
            names = [str(path.parent / name)]
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
    try:
        t5 = _t5_config(weights)
        width, dim = weights["target_projector.0.weight"].shape
        corrects, theirs = "draft_projector.0.weight" in weights, format_ == "T5Generator"
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
            # vec2text counts the closing token. nanoV2T does not, and always takes 32.
            max_tokens=32 if theirs else int(values["max_seq_length"]) - 1,
            reads_written=not theirs,
            embedder=_embedder(values, dim),
        )
    except KeyError as error:
        raise UserError(f"{folder}: damaged or not a {format_}: {error} is missing") from None
    except (TypeError, ValueError) as error:
        raise UserError(f"{folder}: damaged or not a {format_}: {error}") from None
    return config, weights


def _embedder(values: dict[str, Any], dim: int) -> EmbedderInfo | None:
    # With an API, vec2text's embedder_model_name only names a tokenizer.
    keys = ("embedder_model_api", "embedder_model_name", "embedder_name_or_path")
    info = EMBEDDERS.get(next(filter(None, map(values.get, keys)), ""))
    return info if info and info.dim == dim else None


def _read_weights(folder: Path, names: dict[str, str]) -> dict[str, Tensor]:
    paths = sorted(folder.glob(WEIGHTS)) or sorted(folder.glob(PICKLED))
    if not paths:
        raise UserError(f"{folder}: not a generator: model.safetensors is missing")
    weights: dict[str, Tensor] = {}
    try:
        for path in paths:
            pickled = path.suffix == ".bin"
            read = torch.load(path, "cpu", weights_only=True) if pickled else load_file(path)
            for name, weight in read.items():
                if not name.startswith("embedder."):
                    old = next(old for old in names if name.startswith(old))
                    weights[names[old] + name.removeprefix(old)] = weight.float()
    except pickle.UnpicklingError:
        raise UserError(
            f"{path}: holds more than weights, which would run as code: not read"
        ) from None
    except Exception as error:  # safetensors and torch raise whatever a damaged file leads them to
        raise UserError(f"{path}: damaged: {first_line(error)}") from None
    # Tied words may be stored under any of these names, or several.
    tied = ("shared", "encoder.embed_tokens", "decoder.embed_tokens", "lm_head")
    found = [weights.pop(f"t5.{name}.weight", None) for name in tied]
    if words := [weight for weight in found if weight is not None]:
        weights["t5.shared.weight"] = words[0]
        if found[-1] is not None and not torch.equal(found[-1], words[0]):
            weights["t5.lm_head.weight"] = found[-1]
    return weights


def _t5_config(weights: dict[str, Tensor]) -> T5Config:
    attention = "t5.encoder.block.0.layer.0.SelfAttention."
    vocabulary, d_model = weights["t5.shared.weight"].shape
    buckets, heads = weights[attention + "relative_attention_bias.weight"].shape
    gated = "t5.encoder.block.0.layer.1.DenseReluDense.wi_0.weight" in weights

    def layers(part: str) -> int:
        return 1 + max(int(n.split(".")[3]) for n in weights if n.startswith(f"t5.{part}.block."))

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
        tie_word_embeddings="t5.lm_head.weight" not in weights,
    )
