"""One loop for every stage; `drafts.share` decides which it is: 0 a hypothesizer, 1 a corrector, between a joint model.

    nanov2t train configs/minilm_wiki32.yaml

What a step sees is a function of the seed and the step alone, and a checkpoint holds everything else, so a run that was
killed ends with the weights of one that was not.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, set_seed
from torch import Tensor
from torch.nn import functional as F

from nanov2t.build import build_generator
from nanov2t.config import TrainConfig, UserError, seconds
from nanov2t.data import Batch, Corpus, Crops, Embed, read_passages, reference
from nanov2t.embedder import Embedder, load_embedder
from nanov2t.evaluate import evaluate
from nanov2t.generator import Generator
from nanov2t.inverter import Inverter
from nanov2t.runlog import RunLog
from nanov2t.shard import allow_cpu, sharding, whole
from nanov2t.state import State


class Examples:
    """The examples of a step: `plain` ones without a draft, and those with one, drafted a pool at a time."""

    def __init__(self, config: TrainConfig, corpus: Corpus, tokenizer, embed: Embed, accelerator: Accelerator):
        self.config, self.embed, self.accelerator = config, embed, accelerator
        self.drafted = round(config.optim.batch * config.drafts.share)
        self.plain = config.optim.batch - self.drafted
        split = config.data.held_out > 0
        self.crops = {
            part: Crops(corpus, config.data, tokenizer, part if split else "all", config.seed + seed)
            for part, seed, used in (("hypothesizer", 0, self.plain), ("corrector", 1, self.drafted)) if used
        }
        self.vectors = None
        if config.data.crop == "start":
            with accelerator.main_process_first():
                self.vectors = corpus.start_vectors(embed.embedder, tokenizer, config.data.max_tokens)
        self.pool_steps = max(1, config.drafts.pool // max(1, self.drafted))
        self.pool: dict[str, Tensor] = {}
        self.eos = tokenizer.eos_token_id or tokenizer.sep_token_id

    def per_epoch(self) -> float:
        """Steps in which every window of the text is visited once."""
        used = {"hypothesizer": self.plain, "corrector": self.drafted}
        return max(len(crops) / used[part] for part, crops in self.crops.items())

    @property
    def mine(self) -> slice:
        """This process's share of the examples of a step."""
        return slice(self.accelerator.process_index, None, self.accelerator.num_processes)

    def batch(self, part: str, step: int, size: int, share: slice) -> Batch:
        """A share of the `size` crops of a step."""
        ids, mask, passage = self.crops[part].ids(step, size, share)
        ids, mask = ids.to(self.accelerator.device), mask.to(self.accelerator.device)
        if self.vectors is not None:
            return Batch(ids, mask, torch.from_numpy(self.vectors[passage]).to(ids.device))
        with self.accelerator.autocast(), torch.no_grad():
            return Batch(ids, mask, self.embed(ids, mask))

    def tokens(self, step: int) -> int:
        """Label tokens of a step over all processes."""
        sizes = {"hypothesizer": self.plain, "corrector": self.drafted}
        return sum(int(crops.draw(step, sizes[part])[2].sum()) + sizes[part] for part, crops in self.crops.items())

    def refill(self, step: int, hypothesizer: Generator, corrector: Generator) -> None:
        """Draft the pool for the steps from `step` on. The examples of a step are corrected 0 to `drafts.rounds` - 1
        times after their first drafts, equally many each: drafts of drafts teach the later rounds."""
        parts: list[dict[str, Tensor]] = []
        for s in range(step, step + self.pool_steps):
            batch = self.batch("corrector", s, self.drafted, self.mine)
            # In blocks, of which every process gets its share: it depends on the example alone, and all are as busy.
            place = torch.arange(self.drafted, device=batch.ids.device)[self.mine]
            rounds = place * self.config.drafts.rounds // self.drafted
            ids, mask, vectors = self._write(hypothesizer, batch.vectors)
            for r in range(1, self.config.drafts.rounds):
                again = (rounds >= r).nonzero()[:, 0]
                if not len(again):
                    break
                ids[again], mask[again], vectors[again] = self._write(
                    corrector, batch.vectors[again], vectors[again], ids[again], mask[again])
            parts.append({"ids": batch.ids, "mask": batch.mask, "vectors": batch.vectors,
                          "draft_ids": ids, "draft_mask": mask, "draft_vectors": vectors})
        self.pool = {key: torch.stack([part[key] for part in parts]).cpu() for key in parts[0]}

    def _write(self, generator: Generator, *given: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Greedy texts: ids with their closing token and mask, long [n, max_tokens + 1], and vectors [n, dim]."""
        width = self.config.data.max_tokens + 1
        with self.accelerator.autocast(), torch.no_grad():
            rows = [generator.generate(*part, max_length=width + 1)[:, 1:]
                    for part in zip(*(x.split(4096) for x in given), strict=True)]
            ids = torch.cat([F.pad(row, (0, width - row.shape[1])) for row in rows])
            ended = (ids == self.eos).cumsum(1)
            text = ended == 0
            vectors = self.embed(ids * text, text.long())
        mask = (text | ((ended == 1) & (ids == self.eos))).long()
        return ids * mask, mask, vectors


def train(config: TrainConfig) -> Path:
    """Train, or resume, the run in ``config.out``; returns the folder of the finished model.

    Raises:
        UserError: the run folder holds another run, or the data or models cannot be had.
    """
    if config.tracker and not find_spec(config.tracker):
        raise UserError(f"tracker {config.tracker} is not installed: pip install {config.tracker}")
    plugin = sharding() if config.shard else None
    accelerator = Accelerator(
        mixed_precision="bf16" if config.precision == "bf16" else "no",
        log_with=config.tracker or None,
        project_dir=config.out,
        fsdp_plugin=plugin,
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=0 < config.drafts.share < 1)],
    )
    allow_cpu(accelerator, plugin)
    set_seed(config.seed)
    embedder = load_embedder(config.embedder, accelerator.device)
    generator, tokenizer = build_generator(config, embedder)
    with accelerator.main_process_first():
        corpus = Corpus.load(config.data.train, tokenizer, config.data.cache)
    examples = Examples(config, corpus, tokenizer, Embed(embedder, tokenizer), accelerator)
    dev = Dev(config, embedder, tokenizer)
    hypothesizer = None
    if config.drafts.hypothesizer:
        hypothesizer = Generator.from_pretrained(config.drafts.hypothesizer).to(accelerator.device)
    optim = config.optim
    total = max(1, round(optim.epochs * examples.per_epoch()))

    generator.to(accelerator.device)
    state = State(config, accelerator)
    if not state.exists and not config.init and generator.lexical is not None and optim.lexical_steps:
        train_lexical_head(generator, corpus, examples, optim.lexical_steps)
    optimizer = torch.optim.AdamW(
        generator.parameters(), lr=optim.lr, eps=optim.eps, weight_decay=optim.weight_decay, fused=True)
    model, optimizer = accelerator.prepare(generator, optimizer)
    if config.compile:
        model = torch.compile(model)
    step, elapsed = state.load(generator, optimizer, examples)
    budget = seconds(config.budget)
    log = RunLog(config, accelerator, step, total)
    started = time.monotonic() - elapsed
    while step < total and (elapsed := _agreed(time.monotonic() - started, accelerator)) < budget:
        if examples.drafted and (not examples.pool or step % examples.pool_steps == 0):
            writer = whole(generator)
            examples.refill(step, hypothesizer or writer, writer)
        model.train()
        lr = optim.lr * rate(config, step / total, max(step / total, elapsed / budget))
        for group in optimizer.param_groups:
            group["lr"] = lr
        tokens = examples.tokens(step)
        loss = torch.zeros((), device=accelerator.device)
        micro_batches = list(arguments(examples, step))
        for i, batch in enumerate(micro_batches):
            with nullcontext() if i + 1 == len(micro_batches) else accelerator.no_sync(model):
                output = model(**batch)
                # Over all processes and micro-batches this sums to the mean over the tokens of the global batch.
                share = batch["labels"].ge(0).sum() / tokens
                accelerator.backward(output.loss * share * accelerator.num_processes)
            loss += output.loss.detach() * share
        accelerator.clip_grad_norm_(model.parameters(), optim.clip)
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        log.step(step, loss, lr, time.monotonic() - started)
        if step % config.eval_every == 0:
            log.dev(step, dev.figures(whole(generator), hypothesizer))
        if step % config.save_every == 0:
            state.save(step, time.monotonic() - started, generator, optimizer, examples)

    state.save(step, time.monotonic() - started, generator, optimizer, examples)
    finished = whole(generator)
    if step % config.eval_every:
        log.dev(step, dev.figures(finished, hypothesizer))
    log.close()
    if accelerator.is_main_process:
        finished.save_pretrained(config.out / "model", tokenizer)
    accelerator.wait_for_everyone()
    return config.out / "model"


def arguments(examples: Examples, step: int) -> Iterator[dict[str, Tensor]]:
    """The micro-batches of a step as arguments of the model."""
    micro, device = examples.config.optim.micro_batch, examples.accelerator.device
    if examples.plain:
        batch = examples.batch("hypothesizer", step, examples.plain, examples.mine)
        labels = labels_of(batch.ids, batch.mask, examples.eos)
        for vectors, row in zip(batch.vectors.split(micro), labels.split(micro), strict=True):
            yield {"target_embeddings": vectors, "labels": row}
    if examples.drafted:
        drafted = {key: value[step % examples.pool_steps].to(device) for key, value in examples.pool.items()}
        labels = labels_of(drafted["ids"], drafted["mask"], examples.eos)
        for i in range(0, len(labels), micro):
            part = slice(i, i + micro)
            yield {
                "target_embeddings": drafted["vectors"][part],
                "draft_embeddings": drafted["draft_vectors"][part],
                "draft_input_ids": drafted["draft_ids"][part],
                "draft_attention_mask": drafted["draft_mask"][part],
                "labels": labels[part],
            }


def labels_of(ids: Tensor, mask: Tensor, eos: int) -> Tensor:
    """Texts with their closing token, -100 beyond it: long [n, t + 1]."""
    labels = F.pad(ids.masked_fill(mask == 0, -100), (0, 1), value=-100)
    return labels.scatter(1, mask.sum(1, keepdim=True), eos)


def rate(config: TrainConfig, done: float, progress: float) -> float:
    """The learning rate's factor when `done` of the steps and `progress` of the run (by steps or clock) are over."""
    if done < config.optim.warmup:
        return done / config.optim.warmup
    if config.optim.decay == "constant":
        return 1.0
    return max(0.0, (1 - progress) / (1 - config.optim.warmup))


def train_lexical_head(generator: Generator, corpus: Corpus, examples: Examples, steps: int) -> None:
    """Teach the lexical head alone which words a text holds. Every process does the same, so they stay equal."""
    head = generator.lexical
    assert head is not None
    lr = 0.1 / head.vector_scale  # the guess moves as fast whatever the scale
    counts = corpus.counts(head.linear.out_features)
    counts[examples.eos] = counts.sum() / examples.config.data.max_tokens
    head.set_frequencies(counts.to(head.log_frequency.device))
    optimizer = torch.optim.Adam(head.linear.parameters(), lr=lr, fused=True)
    part = next(iter(examples.crops))
    for step in range(steps):
        # Crops of far later epochs: on those that the generator meets first, the guess must be no better than on any.
        batch = examples.batch(part, 1_000_000 + step, examples.config.optim.batch, slice(None))
        loss = head.loss(batch.vectors, labels_of(batch.ids, batch.mask, examples.eos))
        loss.backward()
        optimizer.param_groups[0]["lr"] = lr * (1 - step / steps)
        optimizer.step()
        optimizer.zero_grad()


class Dev:
    """Texts that no run trains on, and the figures of a model on them."""

    def __init__(self, config: TrainConfig, embedder: Embedder, tokenizer):
        passages = read_passages(config.data.dev or config.data.train, "dev")
        limit = config.data.max_tokens
        self.texts = [reference(text, tokenizer, embedder, limit)
                      for text in itertools.islice(passages, config.eval_limit)]
        self.vectors = embedder.encode(self.texts)
        self.embedder, self.tokenizer = embedder, tokenizer

    def figures(self, generator: Generator, hypothesizer: Generator | None) -> dict[str, float]:
        """Figures with one beam, after one correction where the model corrects; `loss` is of the first guess."""
        generator.eval()
        first = generator if generator.config.hypothesizes else hypothesizer
        inverter = Inverter(self.embedder, self.tokenizer, first, generator if generator.config.corrects else None)
        result = evaluate(inverter, self.texts, self.vectors, rounds=int(generator.config.corrects), beam=1)
        figures = {key: result[key]["value"] for key in ("bleu", "token_f1", "exact_match", "cosine")}
        if generator.config.corrects:
            figures["token_f1_round0"] = result["rounds"][0]["token_f1"]
        if generator.config.hypothesizes:
            figures["loss"] = self._loss(generator)
        return figures

    @torch.inference_mode()
    def _loss(self, generator: Generator) -> float:
        rows = self.tokenizer(self.texts, add_special_tokens=False, padding=True, return_tensors="pt")
        ids, mask = rows["input_ids"].to(generator.device), rows["attention_mask"].to(generator.device)
        labels = labels_of(ids, mask, generator.t5.config.eos_token_id)
        vectors = torch.from_numpy(self.vectors).to(generator.device)
        parts = list(zip(vectors.split(64), labels.split(64), strict=True))
        nats = sum(float(generator(v, labels=row).loss * row.ge(0).sum()) for v, row in parts)
        return nats / int(labels.ge(0).sum())


def _agreed(value: float, accelerator: Accelerator) -> float:
    """The first process's value, so that all stop at the same step."""
    if accelerator.num_processes == 1:
        return value
    tensor = torch.tensor(value if accelerator.is_main_process else 0.0, device=accelerator.device)
    return float(accelerator.reduce(tensor, "sum"))
