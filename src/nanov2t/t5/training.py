"""Training in two stages, by a recipe: `drafts.share` 0 is stage 1, 1 is stage 2."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, T5Config, T5ForConditionalGeneration

from nanov2t.core.errors import UserError, first_line
from nanov2t.embedders.base import Embedder
from nanov2t.embedders.registry import load_embedder
from nanov2t.models.hub import locate, network_folder
from nanov2t.t5.checkpoints import load_tokenizer
from nanov2t.t5.config import GeneratorConfig, ModelConfig, T5Recipe
from nanov2t.t5.generator import Generator
from nanov2t.t5.stage1 import Stage1
from nanov2t.t5.stage2 import Stage2
from nanov2t.train.loop import run, start

SCRATCH_TOKENIZER = "google-t5/t5-base"
"""Whose vocabulary a T5 from scratch writes in, unless it is the embedder's."""


def train_t5(config: T5Recipe) -> Path:
    """Train, or resume, the run in ``config.out``; returns the folder of the best model.

    Raises:
        UserError: the run folder holds another run, or the data or models cannot be had.
    """
    accelerator = start(config)
    embedder = load_embedder(config.embedder, accelerator.device)
    generator, tokenizer = build_generator(config, embedder)
    stage = Stage2 if config.drafts.share else Stage1
    task = stage(config, generator, tokenizer, embedder, accelerator)
    return run(task, generator, config, accelerator)


def build_generator(config: T5Recipe, embedder: Embedder) -> tuple[Generator, Any]:
    """The generator a run starts from and its tokenizer; a UserError if they do not fit."""
    stage: dict[str, Any] = {
        "hypothesizes": config.drafts.share == 0,
        "corrects": config.drafts.share == 1,
        "feedback": config.drafts.feedback,
        "max_tokens": config.data.max_tokens,
        "embedder": embedder.info,
    }
    if config.init:
        folder = network_folder(locate(config.init))
        old = Generator.from_pretrained(folder)
        if old.config.embedder != embedder.info:
            raise UserError(
                f"init {config.init} inverts {old.config.embedder}, not {embedder.info}"
            )
        new = dataclasses.replace(old.config, **stage)
        return old.continued(new), load_tokenizer(folder)
    model = config.model
    tokenizer, pretrained = _load(model, embedder)
    t5 = _scratch(model, tokenizer) if pretrained is None else pretrained.config
    generator = Generator(
        GeneratorConfig(
            t5=t5.to_diff_dict(),
            dim=embedder.dim,
            pseudo_tokens=model.pseudo_tokens,
            projector_dropout=model.dropout,
            vector_scale=model.vector_scale,
            layer_norm=model.layer_norm,
            sep_token_id=t5.eos_token_id,
            **stage,
        )
    )
    if pretrained is not None:
        generator.t5 = pretrained
    return generator, tokenizer


def _load(model: ModelConfig, embedder: Embedder) -> tuple[Any, T5ForConditionalGeneration | None]:
    scratch = model.t5 == "scratch"
    if model.tokenizer == "embedder":
        if embedder.tokenizer is None:
            raise UserError(f"model.tokenizer=embedder: {embedder.name} does not show its tokens")
        return embedder.tokenizer, None
    try:
        tokenizer = AutoTokenizer.from_pretrained(SCRATCH_TOKENIZER if scratch else model.t5)
        if scratch:
            return tokenizer, None
        return tokenizer, T5ForConditionalGeneration.from_pretrained(
            model.t5, dropout_rate=model.dropout
        )
    except (OSError, ValueError) as error:
        raise UserError(f"model.t5 {model.t5}: {first_line(error)}") from None


def _scratch(model: ModelConfig, tokenizer: Any) -> T5Config:
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
