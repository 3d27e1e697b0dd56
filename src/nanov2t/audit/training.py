"""The attacker who trains: an inverter's hypothesizer goes on learning, from defended vectors of
public texts."""

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
from nanov2t.evaluation.shared import is_first, of_first
from nanov2t.inverter import Inverter
from nanov2t.models.networks import load_network
from nanov2t.models.prefix_lm import PrefixLM
from nanov2t.train.config import seconds
from nanov2t.train.loop import start
from nanov2t.train.network_config import NetworkSteps, PrefixRecipe, TextConfig
from nanov2t.train.prefix import teach

FORM = 2
"""Of what is trained; it grows when it is trained otherwise."""
STEPS_A_SECOND = 20
"""Of the budget: more than most devices take, so that the budget ends the training."""
RATE = 2e-4
"""Learning rate to begin with, a fifth of that from scratch. It falls to zero."""
EVERY = 100
"""Steps between dev figures, by which the best network is kept, and between checkpoints."""
DEV_EVERY = 10
"""Of so many public texts one is not trained on."""
DEV_TEXTS = 64
SENTENCES = 0.5
"""Share of the texts that begin with a sentence, as those do that are attacked."""


@dataclass(frozen=True)
class Training:
    """How an attacker trains."""

    attack: str
    """Names the defence, and what it was made from: what was trained is found again by it."""
    folder: Path
    """For what was trained, and for checkpoints."""
    budget: str
    """How long, such as `10m`."""
    texts: Sequence[str]
    lengths: Sequence[int]
    """Tokens that texts are cut to."""
    seed: int


def trainable(inverter: Inverter) -> PrefixLM:
    """The network of an inverter that attackers train.

    Raises:
        UserError: it is of another kind.
    """
    if not isinstance(inverter.hypothesizer, PrefixLM):
        raise UserError("--train-budget: needs an inverter that looks inside its embedder")
    if inverter.alignment is not None:
        raise UserError(f"--train-budget: no weights of {inverter.embedder.name} to train on")
    return inverter.hypothesizer


def retrained(inverter: Inverter, training: Training, change: Restore) -> Inverter:
    """The inverter with a hypothesizer that has gone on learning; one that was trained before, by
    the same means, is taken from the folder, and training that was killed goes on.

    Args:
        change: what is done to the vectors of texts, float32 [n, dim], before they are learnt from.

    Raises:
        UserError: the inverter cannot be trained so, the texts will not do, or the folder cannot be
            written.
    """
    network, dictionary = trainable(inverter), inverter.dictionary
    assert dictionary is not None  # no inverter has such a network without one

    def unit(vectors: np.ndarray) -> np.ndarray:
        """As the search hands them to the hypothesizer."""
        changed = change(vectors)
        if not inverter.embedder.normalized:
            return changed
        scaled: np.ndarray = changed / np.linalg.norm(changed, axis=1, keepdims=True)
        return scaled.astype(np.float32)

    facts = (training.budget, training.lengths, training.seed, "\n".join(training.texts))
    key = digest(FORM, inverter.fingerprint(), training.attack, *facts)
    kept = training.folder / f"trained-{key}"
    if not of_first(kept.is_dir()):
        run = training.folder / f"training-{key}"
        config = _recipe(training, run, inverter.embedder.name)
        accelerator = start(config)
        if accelerator.is_main_process:
            _write_texts(training.texts, config)
        accelerator.wait_for_everyone()
        embedder = inverter.embedder
        made = teach(copy.deepcopy(network), config, embedder, dictionary, accelerator, unit)
        if is_first():
            with replacing(kept) as folder:
                shutil.copytree(made, folder, dirs_exist_ok=True)
            shutil.rmtree(run)
        accelerator.wait_for_everyone()
    learnt = load_network(kept, inverter.embedder, dictionary)
    assert isinstance(learnt, PrefixLM)
    return Inverter(
        inverter.embedder,
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
        # A network that has learnt needs no warm-up, which a run that its budget ends may not end.
        optim=NetworkSteps(steps=max(1, steps), lr=RATE, warmup=0.0),
        budget=training.budget,
        eval_every=EVERY,
        save_every=EVERY,
        eval_limit=DEV_TEXTS,
        seed=training.seed,
    )


def _write_texts(texts: Sequence[str], config: PrefixRecipe) -> None:
    """The texts to train on and those for the dev figures, one a line."""
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
