"""The attacker who trains: the inverter's hypothesizer learns from defended vectors of public
texts."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nanov2t.audit.attackers import Restore
from nanov2t.core.errors import UserError
from nanov2t.core.files import digest, replacing
from nanov2t.core.vectors import unit
from nanov2t.evaluation.shared import is_first, of_first
from nanov2t.inverter import Inverter
from nanov2t.models.networks import load_network
from nanov2t.models.prefix_lm import PrefixLM
from nanov2t.train.config import NetworkSteps, PrefixRecipe, TextConfig, seconds
from nanov2t.train.loop import start
from nanov2t.train.prefix import PrefixTask

FORM = 2
"""Version of the trained networks; it grows when they are trained in another way."""
STEPS_A_SECOND = 20
"""Steps for each second of the budget: more than most devices do, so that the budget ends the
training."""
RATE = 2e-4
"""First learning rate, a fifth of the one from scratch. It falls to zero."""
EVERY = 100
"""Steps between checkpoints, and between dev figures, which choose the best network."""
DEV_EVERY = 10
"""One in so many public texts is kept for the dev figures."""
DEV_TEXTS = 64
SENTENCES = 0.5
"""Share of the training texts that begin with a sentence, like the texts that are attacked."""


@dataclass(frozen=True)
class Training:
    """How an attacker trains."""

    attack: str
    """Names the defence and what it was made from."""
    folder: Path
    """For trained networks and checkpoints."""
    budget: str
    """How long, such as `10m`."""
    texts: Sequence[str]
    lengths: Sequence[int]
    """Tokens to which the texts are cut."""
    seed: int


def trainable(inverter: Inverter) -> PrefixLM:
    """The network of an inverter that attackers train.

    Raises:
        UserError: the inverter has none.
    """
    if not isinstance(inverter.hypothesizer, PrefixLM):
        raise UserError("--train-budget: needs an inverter that looks inside its embedder")
    if inverter.alignment is not None:
        raise UserError(f"--train-budget: no weights of {inverter.embedder.name} to train on")
    return inverter.hypothesizer


def retrained(inverter: Inverter, training: Training, change: Restore) -> Inverter:
    """The inverter with a hypothesizer that has learnt from vectors, float32 [n, dim], after
    `change`. Takes the network from the folder if it is there, and resumes a training that was
    killed.

    Raises:
        UserError: the inverter or the texts cannot be used, or the folder cannot be written.
    """
    network, dictionary, embedder = trainable(inverter), inverter.dictionary, inverter.embedder
    assert dictionary is not None  # every inverter with such a network has one

    def changed(vectors: np.ndarray) -> np.ndarray:
        vectors = change(vectors)
        return unit(vectors).astype(np.float32) if embedder.normalized else vectors

    facts = (training.budget, training.lengths, training.seed, "\n".join(training.texts))
    key = digest(FORM, inverter.fingerprint(), training.attack, *facts)
    kept = training.folder / f"trained-{key}"
    if not of_first(kept.is_dir()):
        run = training.folder / f"training-{key}"
        config = _recipe(training, run, embedder.name)
        accelerator = start(config)
        if accelerator.is_main_process:
            _write_texts(training.texts, config)
        accelerator.wait_for_everyone()
        task = PrefixTask(config, (embedder, dictionary), accelerator)
        task.change = changed
        made = task.train(copy.deepcopy(network))
        if is_first():
            with replacing(kept) as folder:
                shutil.copytree(made, folder, dirs_exist_ok=True)
            shutil.rmtree(run)
        accelerator.wait_for_everyone()
    learnt = load_network(kept, embedder, dictionary)
    assert isinstance(learnt, PrefixLM)
    return Inverter(
        embedder,
        inverter.tokenizer,
        learnt.to(next(network.parameters()).device),
        inverter.corrector,
        dictionary,
        search=inverter.search,
        defence=inverter.defence,
        effort=inverter.effort,
        budget=inverter.budget,
    )


def _recipe(training: Training, run: Path, name: str) -> PrefixRecipe:
    steps = round(STEPS_A_SECOND * seconds(training.budget))
    return PrefixRecipe(
        out=run,
        embedder=name,
        data=TextConfig(
            train=str(run / "train.txt"),
            dev=str(run / "dev.txt"),
            min_tokens=min(training.lengths),
            max_tokens=max(training.lengths),
            lengths=list(training.lengths),
            sentences=SENTENCES,
            cache=run / "tokens",
        ),
        # No warm-up: the network has learnt before, and the budget may end sooner than a warm-up.
        optim=NetworkSteps(steps=max(1, steps), lr=RATE, warmup=0.0),
        budget=training.budget,
        eval_every=EVERY,
        save_every=EVERY,
        eval_limit=DEV_TEXTS,
        seed=training.seed,
    )


def _write_texts(texts: Sequence[str], config: PrefixRecipe) -> None:
    lines = [" ".join(text.split()) + "\n" for text in texts]
    parts = {
        config.data.dev: lines[::DEV_EVERY],
        config.data.train: [line for i, line in enumerate(lines) if i % DEV_EVERY],
    }
    try:
        config.out.mkdir(parents=True, exist_ok=True)
        for path, part in parts.items():
            Path(path).write_text("".join(part), encoding="utf-8")
    except OSError as error:
        raise UserError(f"{config.out}: {error.strerror}") from None
