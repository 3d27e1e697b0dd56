"""One loop for every stage; `drafts.share` decides which it is: 0 a hypothesizer, 1 a corrector,
between a joint model.

    nanov2t train configs/minilm_wiki32.yaml

What a step sees is a function of the seed and the step alone, and a checkpoint holds everything
else, so a run that was killed ends with the weights of one that was not.
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, set_seed

from nanov2t.core.errors import UserError
from nanov2t.embedders.registry import load_embedder
from nanov2t.models.generator import Generator
from nanov2t.train.build import build_generator
from nanov2t.train.checkpoint import State
from nanov2t.train.config import TrainConfig, seconds
from nanov2t.train.data import Corpus, Embed
from nanov2t.train.dev import Dev
from nanov2t.train.drafts import Examples, arguments, labels_of
from nanov2t.train.log import RunLog
from nanov2t.train.shard import allow_cpu, sharding, whole


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
        kwargs_handlers=[
            DistributedDataParallelKwargs(find_unused_parameters=0 < config.drafts.share < 1)
        ],
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
    if (
        not state.exists
        and not config.init
        and generator.lexical is not None
        and optim.lexical_steps
    ):
        train_lexical_head(generator, corpus, examples, optim.lexical_steps)
    optimizer = torch.optim.AdamW(
        generator.parameters(),
        lr=optim.lr,
        eps=optim.eps,
        weight_decay=optim.weight_decay,
        fused=True,
    )
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
                # Over all processes and micro-batches this sums to the mean over the tokens of the
                # global batch.
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


def rate(config: TrainConfig, done: float, progress: float) -> float:
    """The learning rate's factor when `done` of the steps and `progress` of the run (by steps or
    clock) are over."""
    if done < config.optim.warmup:
        return done / config.optim.warmup
    if config.optim.decay == "constant":
        return 1.0
    return max(0.0, (1 - progress) / (1 - config.optim.warmup))


def train_lexical_head(
    generator: Generator, corpus: Corpus, examples: Examples, steps: int
) -> None:
    """Teach the lexical head alone which words a text holds. Every process does the same, so they
    stay equal."""
    head = generator.lexical
    assert head is not None
    lr = 0.1 / head.vector_scale  # the guess moves as fast whatever the scale
    counts = corpus.counts(head.linear.out_features)
    counts[examples.eos] = counts.sum() / examples.config.data.max_tokens
    head.set_frequencies(counts.to(head.log_frequency.device))
    optimizer = torch.optim.Adam(head.linear.parameters(), lr=lr, fused=True)
    part = next(iter(examples.crops))
    for step in range(steps):
        # Crops of far later epochs: on those that the generator meets first, the guess must be no
        # better than on any.
        batch = examples.batch(part, 1_000_000 + step, examples.config.optim.batch, slice(None))
        loss = head.loss(batch.vectors, labels_of(batch.ids, batch.mask, examples.eos))
        loss.backward()
        optimizer.param_groups[0]["lr"] = lr * (1 - step / steps)
        optimizer.step()
        optimizer.zero_grad()


def _agreed(value: float, accelerator: Accelerator) -> float:
    """The first process's value, so that all stop at the same step."""
    if accelerator.num_processes == 1:
        return value
    tensor = torch.tensor(value if accelerator.is_main_process else 0.0, device=accelerator.device)
    return float(accelerator.reduce(tensor, "sum"))
