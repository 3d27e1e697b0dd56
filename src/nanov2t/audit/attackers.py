"""The attackers of a defence: what each knows, how it restores vectors or trains on them, and what
its inverter reads."""

from __future__ import annotations

import copy
import json
import math
import shutil
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nanov2t.align.making import ridge
from nanov2t.core.errors import UserError
from nanov2t.core.files import digest, make_folder, replacing
from nanov2t.core.parts import Parts
from nanov2t.core.progress import Tick
from nanov2t.core.vectors import cosine, unit
from nanov2t.defences import MadeDefence
from nanov2t.evaluation.shared import is_first, of_first, share_out
from nanov2t.inverter import Inverter
from nanov2t.load import EngineNetworks
from nanov2t.models.networks import load_network
from nanov2t.models.prefix_lm import PrefixLM
from nanov2t.targets import Defence, Knowledge
from nanov2t.train.config import NetworkSteps, PrefixRecipe, TextConfig, seconds
from nanov2t.train.loop import start
from nanov2t.train.prefix import PrefixTask

Restore = Callable[[np.ndarray], np.ndarray]
"""From defended vectors, float32 [n, dim], to estimates of the undefended ones."""
Fit = Callable[[np.ndarray, np.ndarray], Restore]
READS = (4, 16)
"""Reads of a vector that are averaged if each read has new noise."""
RIDGES = (1e-6, 1e-4, 1e-2, 1e-1, 1.0)
"""Strengths of the ridge to try, as shares of the mean variance of the defended vectors."""
HELD_OUT = 0.2
"""Share of the pairs that chooses the best fit."""
PART = 8
"""Vectors in a file. Each part is a search of its own, so results do not depend on who did it."""
FORM = 5
"""Version of the files; it grows when readings have other fields, or attackers other vectors."""
TRAINING = 2
"""Version of the trained networks; it grows when they are trained in another way."""
STEPS_A_SECOND = 20
"""More than most devices do, so that the budget ends the training."""
DEV_EVERY = 10
"""One in ten public texts is kept for the figures that choose the best network."""


class Attacker(NamedTuple):
    """Someone with an inverter of undefended vectors who holds defended ones: `hold` makes them.
    `repeats` is the very defence, if it can be repeated: the search then compares defended vectors.
    `learns_from` turns the vectors of public texts into those that an attacker trains on."""

    name: str
    knows: str
    hold: Defence
    restore: Restore
    repeats: Defence | None = None
    learns_from: Restore | None = None


def attackers_of(
    defence: MadeDefence | None, public: np.ndarray, pairs: Sequence[int], train_budget: str = ""
) -> list[Attacker]:
    """The attackers of a defence, or of plain vectors if it is None. They know `public`, undefended
    vectors of texts that are no secret, float32 [m, dim]. For each number of `pairs`, one knows so
    many texts with their defended vectors. If there is a `train_budget` (`10m`), one trains."""
    training = f"trained {train_budget}", "how to defend vectors of their own, and learns from them"
    found = [Attacker("unchanged", "the vectors alone", defence or _same, _same)]
    if defence is None:
        if train_budget:  # to tell what training alone gains
            found.append(Attacker(*training, _same, _same, learns_from=_same))
        return found
    repeats, how = defence.known if defence.repeatable else None, "how the defence works"
    if defence.known is not None:
        found.append(
            Attacker("informed", how, defence, fit(defence.known(public), public), repeats)
        )
    if reads := defence.reads:
        for count in READS:
            knows = f"{how}, and {count} reads of each vector"
            restore = fit(reads(count, True)(public), public)
            found.append(Attacker(f"informed, {count} reads", knows, reads(count, False), restore))
    for count in pairs:
        restore = fit(defence(public[:count]), public[:count])
        knows = f"{count} texts with their defended vectors"
        found.append(Attacker(f"{count} pairs", knows, defence, restore))
    if train_budget:
        call = defence.known or defence  # a secret key is no obstacle if a service can be called
        restore = fit(call(public), public)
        both: Restore = lambda vectors: restore(call(vectors))  # noqa: E731
        found.append(Attacker(*training, defence, restore, repeats, both))
    return found


def _same(vectors: np.ndarray) -> np.ndarray:
    return vectors


def fit(defended: np.ndarray, undefended: np.ndarray) -> Restore:
    """Fit the map from defended to undefended vectors, float32 [m, dim] each, by ridge regression
    or a rotation (orthogonal Procrustes), whichever does best on held-out pairs."""
    held = max(1, round(HELD_OUT * len(defended)))
    fits: list[Fit] = [_rotation, *(partial(_regression, share=share) for share in RIDGES)]

    def worth(fitted: Fit) -> float:
        restore = fitted(defended[:-held], undefended[:-held])
        return float(cosine(restore(defended[-held:]), undefended[-held:]).mean())

    return max(fits, key=worth)(defended, undefended)


def _regression(defended: np.ndarray, undefended: np.ndarray, share: float) -> Restore:
    variance = float(defended.astype(np.float64).var(0).mean())
    weights, constant = ridge(defended, undefended, share * max(variance, 1e-12) * len(defended))
    return lambda vectors: (vectors @ weights + constant).astype(np.float32)


def _rotation(defended: np.ndarray, undefended: np.ndarray) -> Restore:
    u, _, v = np.linalg.svd(defended.T.astype(np.float64) @ undefended.astype(np.float64))
    return lambda vectors: (vectors @ (u @ v)).astype(np.float32)


class Reader:
    """Inverts vectors, and keeps what it finds in a folder, so that an audit resumes. The processes
    of `torchrun` share the work and the folder."""

    def __init__(self, inverter: Inverter, folder: Path):
        self.inverter, self.folder, options = inverter, folder, inverter.options
        model = inverter.fingerprint(), options.search, options.effort, options.budget
        self._settings = digest(FORM, *model, options.rounds, options.beam)

    def read(
        self,
        vectors: np.ndarray,
        texts: Sequence[str],
        attack: str,
        tick: Tick,
        knowledge: Knowledge | None = None,
    ) -> list[dict[str, Any]]:
        """Invert vectors, float32 [n, dim], the same in every process. The texts behind them and
        what defended them (`attack`) name the files: the vectors' last bits differ between
        processors. Returns for each the text found, its cosine to the vector that the search
        compared with, why the search stopped, and the embedder_calls and seconds that it took."""
        parts = self._parts(texts, attack)
        missing = of_first(parts.missing)
        goal = tick.done + _size(texts, missing)

        def search(part: int) -> None:
            rows, found = vectors[part * PART : (part + 1) * PART], {}
            for i, x in self.inverter.stream(rows, knowledge=knowledge):
                spent = {"seconds": x.rounds[-1].seconds, "embedder_calls": x.embedder_calls}
                found[i] = {"text": x.text, "cosine": x.cosine, "stopped": x.stopped} | spent
                tick()
            parts.write(part, json.dumps([found[i] for i in sorted(found)]).encode())

        share_out(search, missing)
        tick(goal - tick.done)  # the work of the other processes
        return [row for path in parts.parts.values() for row in json.loads(path.read_bytes())]

    def count_kept(self, texts: Sequence[str], attack: str) -> int:
        """How many of the texts need no search, since the folder has them."""
        return _size(texts, self._parts(texts, attack).parts)

    def _parts(self, texts: Sequence[str], attack: str) -> Parts:
        folder = self.folder / digest(self._settings, attack, *texts)
        return Parts(folder, math.ceil(len(texts) / PART), ".json")


def _size(texts: Sequence[str], parts: Iterable[int]) -> int:
    """The number of texts in these parts."""
    return sum(len(texts[part * PART : (part + 1) * PART]) for part in parts)


def trainable(inverter: Inverter) -> PrefixLM:
    """The network of an inverter that attackers train; a UserError if there is none."""
    if not isinstance(inverter.hypothesizer, PrefixLM):
        raise UserError("--train-budget: needs an inverter that looks inside its embedder")
    if inverter.alignment is not None:
        raise UserError(f"--train-budget: no weights of {inverter.embedder.name} to train on")
    return inverter.hypothesizer


def retrained(
    reader: Reader,
    change: Restore,
    texts: Sequence[str],
    lengths: Sequence[int],
    budget: str,
    seed: int,
    attack: str,
) -> Reader:
    """A reader whose hypothesizer has learnt for a time (`10m`) from the vectors of texts after
    `change`, float32 [n, dim]. The texts are cut to `lengths`, in tokens; `attack` names the
    defence and what it was made from. Takes the network from the folder if it is there, and resumes
    a training that was killed."""
    inverter = reader.inverter
    network, dictionary, embedder = trainable(inverter), inverter.dictionary, inverter.embedder
    assert dictionary is not None  # every inverter with such a network has one

    def changed(vectors: np.ndarray) -> np.ndarray:
        vectors = change(vectors)
        return unit(vectors).astype(np.float32) if embedder.normalized else vectors

    facts = attack, budget, lengths, seed, "\n".join(texts)
    key = digest(TRAINING, inverter.fingerprint(), *facts)
    kept = reader.folder / f"trained-{key}"
    if not of_first(kept.is_dir()):
        run = reader.folder / f"training-{key}"
        config = _recipe(run, embedder.name, lengths, budget, seed)
        accelerator = start(config)
        if accelerator.is_main_process:
            make_folder(run)
            lines = [" ".join(text.split()) + "\n" for text in texts]
            Path(config.data.dev).write_text("".join(lines[::DEV_EVERY]), encoding="utf-8")
            del lines[::DEV_EVERY]
            Path(config.data.train).write_text("".join(lines), encoding="utf-8")
        accelerator.wait_for_everyone()
        task = PrefixTask(config, (embedder, dictionary), accelerator)
        task.change = changed
        made = task.train(copy.deepcopy(network))
        if is_first():
            with replacing(kept) as folder:
                shutil.copytree(made, folder, dirs_exist_ok=True)
            shutil.rmtree(run)
        accelerator.wait_for_everyone()
    learnt: Any = load_network(kept, embedder, dictionary)
    learnt.to(next(network.parameters()).device)
    networks = EngineNetworks(embedder, dictionary, learnt, inverter.corrector)
    return Reader(Inverter(networks, inverter.options, inverter.defence), reader.folder)


def _recipe(
    run: Path, embedder: str, lengths: Sequence[int], budget: str, seed: int
) -> PrefixRecipe:
    data = TextConfig(
        train=str(run / "train.txt"),
        dev=str(run / "dev.txt"),
        min_tokens=min(lengths),
        max_tokens=max(lengths),
        lengths=list(lengths),
        sentences=0.5,  # half begin with a sentence, like the texts that are attacked
        cache=run / "tokens",
    )
    # The network has learnt before: a fifth of the usual rate, and no warm-up, which may be longer
    # than the budget.
    steps = max(1, round(STEPS_A_SECOND * seconds(budget)))
    return PrefixRecipe(
        out=run,
        embedder=embedder,
        data=data,
        optim=NetworkSteps(steps=steps, lr=2e-4, warmup=0.0),
        budget=budget,
        eval_every=100,
        save_every=100,
        eval_limit=64,
        seed=seed,
    )
