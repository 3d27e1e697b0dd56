"""The audit: texts, defences and attackers to one report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import numpy as np

from nanov2t.audit.attackers import Attacker, attackers_of
from nanov2t.audit.baseline import SCHEMA
from nanov2t.audit.judgements import Judgements
from nanov2t.audit.leakage import Sample, control, leakage, make_sample
from nanov2t.audit.reading import Reader
from nanov2t.audit.training import Training, retrained, trainable
from nanov2t.audit.utility import Retrieval
from nanov2t.core.vectors import cosine
from nanov2t.defences import MadeDefence, Setting, make_defence
from nanov2t.embedders.text import reference
from nanov2t.inverter import Inverter
from nanov2t.stores.base import digest
from nanov2t.targets import Knowledge

WORST = 5
"""Records of a length that are shown, those read out best."""
AGREES = 1 - 1e-6
"""Cosine from which the defended vector of a guess is the one that was attacked."""


@dataclass(frozen=True)
class Plan:
    """What an audit looks at."""

    texts: Sequence[str]
    public: Sequence[str]
    """Texts that are no secret: attackers learn from them, and defences are fitted on them."""
    lengths: Sequence[int]
    """In the inverter's tokens."""
    limit: int
    """Texts of each length at most."""
    judgements: Judgements
    """What retrieval has to find."""
    defences: Sequence[str] = ()
    pairs: Sequence[int] = ()
    """For each number, an attacker who has so many pairs; none: one who has as many as the vectors
    have dimensions, or as there are public texts."""
    seed: int = 0
    """Of the defences."""
    redact: bool = False
    """Whether the report shows no texts."""
    train_budget: str = ""
    """How long an attacker trains for each defence, such as `10m`; empty: none does."""


Progress = Callable[[str], AbstractContextManager[Any]]
"""Shows what is done, while it is done."""


def audit(plan: Plan, reader: Reader, progress: Progress = nullcontext) -> dict[str, Any]:
    """Attack the vectors of texts, plain and defended, and take what retrieval is worth with them.

    The processes of `torchrun` share the searches out, and all have the report in the end.

    Args:
        progress: called with what is done next. Training shows its own.

    Returns:
        The report, as docs/audit.md describes it.

    Raises:
        UserError: texts, lengths, a defence or a number of pairs will not do.
    """
    inverter = reader.inverter
    if plan.train_budget:
        trainable(inverter)
    samples = [make_sample(inverter, plan.texts, n, plan.limit) for n in plan.lengths]
    retrieval = Retrieval(inverter.embedder, plan.judgements)
    public = _public_vectors(inverter, plan) if plan.defences else np.zeros((0, 0), np.float32)
    setting = Setting(inverter.embedder.dim, plan.seed, public)
    defences = [None, *(make_defence(spec, setting) for spec in plan.defences)]
    pairs = plan.pairs or [min(public.shape)]
    attackers = [attackers_of(made, public, pairs, plan.train_budget) for made in defences]
    rows = []
    for defence, those in zip(defences, attackers, strict=True):
        found = [_attacks(plan, reader, samples, defence, one, progress) for one in those]
        mark = digest(defence(public[:WORST]).tobytes()) if defence else ""
        rows.append(
            {
                "defence": defence.spec if defence else "none",
                "fingerprint": mark,
                "utility": retrieval.figures(defence),
                "attackers": found,
            }
        )
    head = {"schema": SCHEMA, "version": version("nanov2t"), "date": _now(), "seed": plan.seed}
    return head | _means(reader, plan) | {"retrieval": retrieval.describe(), "defences": rows}


def _attacks(
    plan: Plan,
    reader: Reader,
    samples: Sequence[Sample],
    defence: MadeDefence | None,
    attacker: Attacker,
    progress: Progress,
) -> dict[str, Any]:
    """One attacker's figures on texts of all lengths."""
    if call := attacker.trains_on:
        training = Training(reader.folder, plan.train_budget, plan.public, plan.lengths, plan.seed)
        learnt = retrained(reader.inverter, training, lambda v: attacker.restore(call(v)))
        reader = Reader(learnt, reader.folder, reader.rounds, reader.beam)
    lengths = []
    for sample in samples:
        spec = defence.spec if defence else "none"
        with progress(f"{spec}: attacker {attacker.name}, {sample.tokens} tokens"):
            lengths.append(_attack(reader, sample, attacker, 0 if plan.redact else WORST))
    return {"name": attacker.name, "knows": attacker.knows, "lengths": lengths}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="minutes")


def _public_vectors(inverter: Inverter, plan: Plan) -> np.ndarray:
    """Of the public texts, cut to all lengths in turn: float32 [m, dim]."""
    embedder, tokenizer = inverter.embedder, inverter.tokenizer
    cut = [
        reference(text, tokenizer, embedder, plan.lengths[i % len(plan.lengths)])
        for i, text in enumerate(plan.public)
    ]
    return embedder.encode([text for text in cut if text])


def _means(reader: Reader, plan: Plan) -> dict[str, Any]:
    """By what the figures were taken."""
    inverter = reader.inverter
    info = inverter.embedder.info
    return {
        "texts": len(plan.texts),
        "public_texts": len(plan.public) if plan.defences or plan.train_budget else 0,
        "train_budget": plan.train_budget or None,
        "embedder": {"name": info.name, "dim": info.dim, "fingerprint": info.fingerprint},
        "inverter": {
            "fingerprint": inverter.fingerprint(),
            "search": inverter.search,
            "effort": inverter.effort,
            "rounds": reader.rounds,
            "beam": reader.beam,
        },
    }


def _attack(
    reader: Reader,
    sample: Sample,
    attacker: Attacker,
    shown: int,
) -> dict[str, Any]:
    """One attacker's figures on texts of one length, with the `shown` ones read out best."""
    held = attacker.hold(sample.vectors)
    result: dict[str, Any] = {"tokens": sample.tokens, "n": len(held)}
    if attacker.repeats is None:
        readings = reader.read(attacker.restore(held))
    else:
        readings = reader.read(held, Knowledge(attacker.repeats, attacker.restore))
        agree = [reading.cosine >= AGREES for reading in readings]
        result["verified"] = 100 * float(np.mean(agree))
    found = [reading.text for reading in readings]
    embedder = reader.inverter.embedder
    scores = leakage(embedder, sample, found)
    return (
        result
        | scores
        | {
            "control": control(embedder, sample, found),
            "seconds": sum(reading.seconds for reading in readings),
            "embedder_calls": sum(reading.embedder_calls for reading in readings),
            "worst": _worst(embedder.encode(found), sample, found, shown),
        }
    )


def _worst(
    vectors: np.ndarray, sample: Sample, found: Sequence[str], count: int
) -> list[dict[str, Any]]:
    """The records that were read out best, by the cosine of the two texts' vectors."""
    cosines = cosine(vectors, sample.vectors)
    return [
        {"text": sample.references[i], "found": found[i], "cosine": float(cosines[i])}
        for i in np.argsort(-cosines, kind="stable")[:count].tolist()
    ]
