"""A new generator for an embedder, by the settings of a recipe."""

from __future__ import annotations

import dataclasses
from typing import Any

from transformers import AutoTokenizer, T5Config, T5ForConditionalGeneration

from nanov2t.core.errors import UserError
from nanov2t.embedders.base import Embedder
from nanov2t.models.checkpoint import load_tokenizer
from nanov2t.models.config import GeneratorConfig
from nanov2t.models.generator import Generator
from nanov2t.train.config import TrainConfig


def build_generator(config: TrainConfig, embedder: Embedder):
    """The generator a run starts from and its tokenizer.

    Raises:
        UserError: a model cannot be had, or does not fit the embedder.
    """
    stage: dict[str, Any] = {
        "hypothesizes": config.drafts.share < 1,
        "corrects": config.drafts.share > 0,
        "max_tokens": config.data.max_tokens,
        "embedder": embedder.info,
    }
    if config.init:
        return _continue(config.init, stage, embedder)
    model = config.model
    if model.tokenizer == "embedder" and embedder.tokenizer is None:
        raise UserError(
            f"model.tokenizer=embedder: the vocabulary of {embedder.name} is out of reach"
        )
    try:
        if model.tokenizer == "embedder":
            tokenizer = embedder.tokenizer
        else:
            tokenizer = AutoTokenizer.from_pretrained(
                "google-t5/t5-base" if model.t5 == "scratch" else model.t5
            )
        pretrained = (
            None
            if model.t5 == "scratch"
            else T5ForConditionalGeneration.from_pretrained(model.t5, dropout_rate=model.dropout)
        )
    except (OSError, ValueError) as error:
        raise UserError(f"model.t5 {model.t5}: {str(error).splitlines()[0]}") from None
    t5 = pretrained.config if pretrained is not None else _scratch(config, tokenizer)
    generator = Generator(
        GeneratorConfig(
            t5=t5.to_diff_dict(),
            dim=embedder.dim,
            pseudo_tokens=model.pseudo_tokens,
            projector_dropout=model.dropout,
            vector_scale=model.vector_scale,
            layer_norm=model.layer_norm,
            lexical=model.lexical,
            sep_token_id=t5.eos_token_id,
            **stage,
        )
    )
    if pretrained is not None:
        generator.t5 = pretrained
    elif model.embedder_words:
        words = embedder.model[0].model.get_input_embeddings().weight
        if tokenizer is not embedder.tokenizer or words.shape != generator.t5.shared.weight.shape:
            raise UserError(
                f"model.embedder_words needs tokenizer=embedder and d_model={words.shape[1]}"
            )
        generator.t5.shared.weight.data.copy_(
            words / words.std()
        )  # T5's own start has unit variance
    return generator, tokenizer


def _scratch(config: TrainConfig, tokenizer) -> T5Config:
    model = config.model
    return T5Config(
        vocab_size=len(tokenizer),
        d_model=model.d_model,
        d_ff=model.d_ff,
        d_kv=model.d_kv,
        num_heads=model.heads,
        num_layers=model.layers,
        dropout_rate=model.dropout,
        feed_forward_proj="gated-gelu",
        pad_token_id=tokenizer.pad_token_id,
        decoder_start_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id or tokenizer.sep_token_id,
    )


def _continue(path: str, stage: dict, embedder: Embedder):
    """The generator in `path`, with fresh projectors for what it did not do before."""
    old = Generator.from_pretrained(path)
    if old.config.embedder != embedder.info:
        raise UserError(f"init {path} inverts {old.config.embedder}, not {embedder.info}")
    generator = Generator(dataclasses.replace(old.config, **stage))
    generator.t5 = old.t5
    generator.load_state_dict(
        {
            name: weight
            for name, weight in old.state_dict().items()
            if name in generator.state_dict()
        },
        strict=False,
    )
    return generator, load_tokenizer(path)
