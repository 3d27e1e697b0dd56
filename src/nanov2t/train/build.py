"""The generator that a run starts from, by the settings of its recipe."""

from __future__ import annotations

import dataclasses
from typing import Any

from transformers import AutoTokenizer, T5Config, T5ForConditionalGeneration

from nanov2t.core.errors import UserError, first_line
from nanov2t.embedders.base import Embedder
from nanov2t.models.checkpoint import load_tokenizer
from nanov2t.models.config import GeneratorConfig
from nanov2t.models.generator import Generator
from nanov2t.train.config import ModelConfig, TrainConfig

SCRATCH_TOKENIZER = "google-t5/t5-base"
"""Whose vocabulary a T5 from scratch writes in, unless it is the embedder's."""


def build_generator(config: TrainConfig, embedder: Embedder) -> tuple[Generator, Any]:
    """The generator a run starts from and its tokenizer.

    Raises:
        UserError: a model cannot be had, or does not fit the embedder.
    """
    stage: dict[str, Any] = {
        "hypothesizes": config.drafts.share < 1,
        "corrects": config.drafts.share > 0,
        "feedback": config.drafts.feedback,
        "max_tokens": config.data.max_tokens,
        "embedder": embedder.info,
    }
    if config.init:
        return _continued(config.init, stage, embedder)
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
            lexical=model.lexical,
            sep_token_id=t5.eos_token_id,
            **stage,
        )
    )
    if pretrained is not None:
        generator.adopt(pretrained)
    elif model.embedder_words:
        _take_words(generator, tokenizer, embedder)
    return generator, tokenizer


def _load(model: ModelConfig, embedder: Embedder) -> tuple[Any, T5ForConditionalGeneration | None]:
    """The tokenizer, and the T5 where it is not to be made from scratch."""
    scratch = model.t5 == "scratch"
    if model.tokenizer == "embedder":
        if embedder.tokenizer is None:
            raise UserError(
                f"model.tokenizer=embedder: the vocabulary of {embedder.name} is out of reach"
            )
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


def _take_words(generator: Generator, tokenizer: Any, embedder: Embedder) -> None:
    """Start the word embeddings from the embedder's, at unit variance, as a T5's own start."""
    words = embedder.model[0].model.get_input_embeddings().weight
    if tokenizer is not embedder.tokenizer or words.shape != generator.words.shape:
        raise UserError(
            f"model.embedder_words needs tokenizer=embedder and d_model={words.shape[1]}"
        )
    generator.words.data.copy_(words / words.std())


def load_hypothesizer(path: str, tokenizer: Any, embedder: Embedder) -> Generator:
    """The generator that writes first drafts for another one to learn from.

    Raises:
        UserError: it cannot be had, writes no first guesses, or is of another embedder or
            vocabulary than the run.
    """
    first = Generator.from_pretrained(path)
    known = first.config.embedder
    if not first.config.hypothesizes:
        raise UserError(f"drafts.hypothesizer {path}: only corrects")
    if first.config.dim != embedder.dim or (
        known is not None and known.fingerprint not in ("", embedder.info.fingerprint)
    ):
        raise UserError(f"drafts.hypothesizer {path} inverts {known}, not {embedder.info}")
    if load_tokenizer(path).get_vocab() != tokenizer.get_vocab():
        raise UserError(f"drafts.hypothesizer {path}: writes in another vocabulary than the run")
    return first


def _continued(path: str, stage: dict[str, Any], embedder: Embedder) -> tuple[Generator, Any]:
    """The generator in `path`, with fresh projectors for what it did not do before."""
    old = Generator.from_pretrained(path)
    if old.config.embedder != embedder.info:
        raise UserError(f"init {path} inverts {old.config.embedder}, not {embedder.info}")
    return old.continued(dataclasses.replace(old.config, **stage)), load_tokenizer(path)
