"""Training of T5s: of a hypothesizer (stage 1) and of a corrector (stage 2).

    nanov2t train configs/gtr_nq32_stage1.yaml
    nanov2t train configs/gtr_nq32_stage2.yaml

A hypothesizer writes a text, given its vector. A corrector rewrites a draft, given also the draft's
vector. It learns from greedy drafts of stage 1, one for each passage, which are written once.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoTokenizer, T5Config, T5ForConditionalGeneration

from nanov2t.core.errors import UserError, first_line
from nanov2t.core.passages import drafts_file, drafts_of, read_rows
from nanov2t.embedders.base import Embedder
from nanov2t.embedders.registry import load_embedder
from nanov2t.embedders.text import reference
from nanov2t.evaluation.metrics import summarize
from nanov2t.inverter import Inverter
from nanov2t.models.hub import locate, network_folder
from nanov2t.t5.checkpoints import GeneratorConfig, load_tokenizer
from nanov2t.t5.drafts import NOTHING, check_facts, draft_arrays, write_drafts
from nanov2t.t5.generator import Generator
from nanov2t.t5.inference import Pair, Writer
from nanov2t.train.config import ModelConfig, T5Recipe
from nanov2t.train.data import Corpus, Crops, Embed, Noise
from nanov2t.train.loop import Task, run, start

SCRATCH_TOKENIZER = "google-t5/t5-base"  # of T5s from scratch, unless they use the embedder's
ROWS = 64  # dev texts that pass through the model at a time
TEXTS, DRAFTS = 0, 1  # kinds of vectors; each gets noise of its own


def train_t5(config: T5Recipe) -> Path:
    """Train a T5, or resume the run in ``config.out``; returns the folder of the best model. Raises
    a UserError if the folder holds another run, or the data or a model cannot be had."""
    accelerator = start(config)
    embedder = load_embedder(config.embedder, accelerator.device)
    generator, tokenizer = build_generator(config, embedder)
    task = T5Task(config, generator, tokenizer, embedder, accelerator)
    return run(task, generator, config, accelerator)


class T5Task(Task[Generator]):
    """Crops of texts, in stage 2 with drafts, and dev texts that no run trains on."""

    texts: list[str] | None = None  # drafts of the dev texts
    draft_ids: np.ndarray
    draft_vectors: np.ndarray

    def __init__(
        self,
        config: T5Recipe,
        generator: Generator,
        tokenizer: Any,
        embedder: Embedder,
        accelerator: Accelerator,
    ):
        data, optim = config.data, config.optim
        self.config, self.tokenizer, self.embedder = config, tokenizer, embedder
        self.accelerator, self.eos = accelerator, generator.eos_token_id
        own = len(range(accelerator.process_index, optim.batch, accelerator.num_processes))
        if not own:
            raise UserError(f"optim.batch {optim.batch} is too small for so many processes")
        self.parts = -(-own // optim.micro_batch)
        start, self.vectors = data.crop == "start", None
        with accelerator.main_process_first():
            self.corpus = Corpus.load(data.train, tokenizer, data.cache)
            if start:
                self.vectors = self.corpus.start_vectors(embedder, tokenizer, data.max_tokens)
        lengths = (data.max_tokens, data.min_tokens, data.short_share)
        self.crops = Crops(self.corpus, tokenizer, config.seed, *lengths, start=start)
        self.embed, self.noise = Embed(embedder, tokenizer), Noise(data.noise, embedder.normalized)
        self.steps = max(1, round(optim.epochs * len(self.crops) / optim.batch))
        self.dev_source = data.dev or data.train
        rows = (row for row in enumerate(read_rows(self.dev_source, "dev")) if row[1])
        self.dev_rows = dict(itertools.islice(rows, config.eval_limit))
        if not self.dev_rows:
            raise UserError(f"{self.dev_source}: holds no text")
        self.dev_texts = [
            reference(text, tokenizer, embedder, data.max_tokens) for text in self.dev_rows.values()
        ]
        self.dev_vectors = embedder.encode(self.dev_texts)
        if config.drafts.share:
            self._read_drafts()

    def _read_drafts(self) -> None:
        """Read the drafts of stage 2, or have a hypothesizer write them first."""
        config, embedder, tokenizer = self.config, self.embedder, self.tokenizer
        longest = config.data.max_tokens
        if config.drafts.files:
            folder = Path(config.drafts.files)
            path = drafts_file(folder, "dev")
            check_facts(path, embedder, longest)
            count = sum(1 for _ in read_rows(self.dev_source, "dev"))
            self.texts = drafts_of(path, range(count), list(self.dev_rows))
        else:
            first = load_hypothesizer(config.drafts.hypothesizer, tokenizer, embedder)
            first = first.to(self.accelerator.device)
            inverter = Inverter(Pair(embedder, tokenizer, first, None))
            folder = config.out / "drafts"
            self.texts = inverter.hypothesize(self.dev_vectors)
            write_drafts(inverter, config.data.train, "train", folder)
        path = drafts_file(folder, "train")
        check_facts(path, embedder, longest)
        with self.accelerator.main_process_first():
            arrays = draft_arrays(path, self.corpus, embedder, tokenizer, longest, self.eos)
        self.draft_ids, self.draft_vectors = arrays

    def seen(self, step: int) -> int:
        return step * self.config.optim.batch

    def step(self, model: nn.Module, step: int, part: int) -> Tensor:
        given, size = self.batch(step, part), self.config.optim.batch
        tokens = int(self.crops.draw(step, size)[2].sum()) + size  # of all processes
        mean: Tensor = model(**given, keep_logits=False).loss
        return mean * (given["labels"].ge(0).sum() / tokens)

    def batch(self, step: int, part: int) -> dict[str, Tensor]:
        """A micro-batch of this process, as the generator takes it. Call it outside of autocast,
        since vectors are made in the embedder's own precision."""
        device, size = self.accelerator.device, self.config.optim.batch
        ids, mask, passages = self.crops.ids(step, size, self.share(part))
        ids, mask = ids.to(device), mask.to(device)
        if self.vectors is not None:
            vectors = torch.from_numpy(self.vectors[passages]).to(device)
        else:
            vectors = self.embed(ids, mask)
        given = {"target_embeddings": self.noisy(vectors, TEXTS, step, part)}
        if self.texts is not None:
            drafts = torch.from_numpy(self.draft_ids[passages].astype(np.int64)).to(device)
            vectors = torch.from_numpy(self.draft_vectors[passages]).to(device)
            given["draft_embeddings"] = self.noisy(vectors, DRAFTS, step, part)
            given["draft_input_ids"] = drafts.clamp(min=0)
            given["draft_attention_mask"] = (drafts != NOTHING).long()
        return given | {"labels": self._labels(ids, mask)}

    def noisy(self, vectors: Tensor, kind: int, step: int, part: int) -> Tensor:
        """Add the recipe's noise to the vectors [n, dim] of a micro-batch."""
        size, key = self.config.optim.batch, [self.config.seed, 2, step, kind]
        return self.noise(vectors, size, self.share(part), key)

    def dev_nats(self, model: Generator) -> Iterator[tuple[str, float, float]]:
        rows = self.tokenizer(
            self.dev_texts, add_special_tokens=False, padding=True, return_tensors="pt"
        )
        labels = self._labels(rows["input_ids"], rows["attention_mask"]).to(model.device)
        given = [torch.from_numpy(self.dev_vectors).to(model.device)]
        if self.texts is not None:
            given.append(torch.from_numpy(self.embedder.encode(self.texts)).to(model.device))
            given += Writer(model, self.tokenizer, self.embedder).read(self.texts)
        for *part, row in zip(*(torch.split(x, ROWS) for x in (*given, labels)), strict=True):
            tokens = float(row.ge(0).sum())
            yield "loss", float(model(*part, labels=row).loss) * tokens, tokens

    def measure(self, model: Generator) -> dict[str, float]:
        """Figures of searches with one beam, after one correction if the model corrects."""
        corrects = model.config.corrects
        pair = (None, model) if corrects else (model, None)
        inverter = Inverter(Pair(self.embedder, self.tokenizer, *pair))
        found = inverter.invert(self.dev_vectors, int(corrects), beam=1, drafts=self.texts)
        rounds = summarize(found, self.dev_texts)["rounds"]
        names = ("bleu", "token_f1", "exact_match", "cosine")
        figures: dict[str, float] = {name: rounds[-1][name] for name in names}
        return figures | ({"token_f1_round0": rounds[0]["token_f1"]} if corrects else {})

    def save(self, model: Generator, folder: Path) -> None:
        model.save_pretrained(folder, self.tokenizer)

    def share(self, part: int) -> slice:
        """A micro-batch of this process among the crops of a step."""
        processes, size = self.accelerator.num_processes, self.config.optim.micro_batch
        first = self.accelerator.process_index + part * size * processes
        return slice(first, first + size * processes, processes)

    def _labels(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Ids with closing tokens, and -100 behind: long [n, t + 1]."""
        labels = F.pad(ids.masked_fill(mask == 0, -100), (0, 1), value=-100)
        return labels.scatter(1, mask.sum(1, keepdim=True), self.eos)


def build_generator(config: T5Recipe, embedder: Embedder) -> tuple[Generator, Any]:
    """The generator that a run starts from, and its tokenizer. Raises a UserError if they do not
    fit."""
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
        known = old.config.embedder
        if known != embedder.info:
            raise UserError(f"init {config.init} inverts {known}, not {embedder.info}")
        return old.continued(dataclasses.replace(old.config, **stage)), load_tokenizer(folder)
    model, pretrained = config.model, None
    tokenizer = embedder.tokenizer if model.tokenizer == "embedder" else None
    if model.tokenizer == "embedder" and tokenizer is None:
        raise UserError(f"model.tokenizer=embedder: {embedder.name} does not show its tokens")
    scratch = model.t5 == "scratch"
    try:
        name = SCRATCH_TOKENIZER if scratch else model.t5
        tokenizer = tokenizer or AutoTokenizer.from_pretrained(name)
        if not scratch:
            pretrained = T5ForConditionalGeneration.from_pretrained(
                model.t5, dropout_rate=model.dropout
            )
    except (OSError, ValueError) as error:
        raise UserError(f"model.t5 {model.t5}: {first_line(error)}") from None
    t5 = pretrained.config if pretrained else _scratch(model, tokenizer)
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


def load_hypothesizer(path: str, tokenizer: Any, embedder: Embedder) -> Generator:
    """The generator that writes a recipe's drafts. Raises a UserError if it cannot be read, is no
    hypothesizer, or has another embedder or vocabulary."""
    folder = network_folder(locate(path), "hypothesizer")
    first = Generator.from_pretrained(folder)
    known = first.config.embedder
    if not first.config.hypothesizes:
        raise UserError(f"drafts.hypothesizer {path}: is a corrector")
    if first.config.dim != embedder.dim or (
        known is not None and known.fingerprint not in ("", embedder.info.fingerprint)
    ):
        raise UserError(f"drafts.hypothesizer {path} inverts {known}, not {embedder.info}")
    if load_tokenizer(folder).get_vocab() != tokenizer.get_vocab():
        raise UserError(f"drafts.hypothesizer {path}: writes in another vocabulary than the run")
    return first
