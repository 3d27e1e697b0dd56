"""The audit: texts, defences and attackers to one report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import numpy as np

from nanov2t.audit.attackers import Attacker, attackers_of
from nanov2t.audit.baseline import SCHEMA
from nanov2t.audit.judgements import Judgements
from nanov2t.audit.judging import Limit, refuse_untold
from nanov2t.audit.leakage import DIGITS, Sample, control, embed, leakage, left_out, make_sample
from nanov2t.audit.reading import Reader
from nanov2t.audit.training import Training, retrained, trainable
from nanov2t.audit.utility import Retrieval
from nanov2t.core.files import digest
from nanov2t.core.progress import Tick, progress
from nanov2t.core.vectors import cosine
from nanov2t.defences import MadeDefence, Setting, make_defence
from nanov2t.embedders.text import reference
from nanov2t.evaluation.shared import is_first
from nanov2t.inverter import Inverter
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
    limits: Sequence[Limit] = ()
    """Of a gate, refused before the searches if they cannot be judged."""
    redact: bool = False
    """Whether the report shows no texts."""
    train_budget: str = ""
    """How long an attacker trains for each defence, such as `10m`; empty: none does."""


@dataclass(frozen=True)
class Attack:
    """One attacker of one defence, and what reads for it."""

    defence: MadeDefence | None
    attacker: Attacker
    reader: Reader
    name: str
    """Tells its readings from those of others: it stands for all that they are made from."""


def audit(plan: Plan, reader: Reader, say: Callable[[str], object]) -> dict[str, Any]:
    """Attack the vectors of texts, plain and defended, and measure how well retrieval works with
    them.

    The processes of `torchrun` share the searches out, and all have the report in the end.

    Args:
        say: told, before the searches, what was left out and how much there is to do.

    Returns:
        The report, as docs/audit.md describes it.

    Raises:
        UserError: texts, lengths, a defence, a number of pairs or a limit will not do.
    """
    inverter = reader.inverter
    if plan.train_budget:
        trainable(inverter)
    samples = [make_sample(inverter, plan.texts, n, plan.limit) for n in plan.lengths]
    retrieval = Retrieval(inverter.embedder, plan.judgements)
    texts, public = _public(inverter, plan)
    setting = Setting(inverter.embedder.dim, plan.seed, public)
    defences = [None, *(make_defence(spec, setting) for spec in plan.defences)]
    marks = [digest(d.spec, d.source, plan.seed, *texts) if d else "" for d in defences]
    pairs = plan.pairs or [min(public.shape)]
    attackers = [attackers_of(made, public, pairs, plan.train_budget) for made in defences]
    head = {"schema": SCHEMA, "version": version("nanov2t"), "date": _now(), "seed": plan.seed}
    head |= _means(reader, plan) | {"retrieval": retrieval.describe()}
    head["samples"] = [sample.describe() for sample in samples]
    refuse_untold(plan.limits, head)
    for line in [*left_out(head), _work(attackers, samples)]:
        say(line)
    attacks = [
        [_attack(plan, reader, defence, attacker, mark) for attacker in those]
        for defence, those, mark in zip(defences, attackers, marks, strict=True)
    ]
    found = iter(_search(plan, [attack for those in attacks for attack in those], samples))
    rows = [
        {
            "defence": defence.spec if defence else "none",
            "fingerprint": mark,
            "utility": retrieval.figures(defence),
            "attackers": [next(found) for _ in those],
        }
        for defence, mark, those in zip(defences, marks, attacks, strict=True)
    ]
    return head | {"defences": rows}


def _work(attackers: Sequence[Sequence[Attacker]], samples: Sequence[Sample]) -> str:
    """A line that says how much there is to do."""
    number, texts = sum(map(len, attackers)), sum(len(sample.references) for sample in samples)
    trained = sum(bool(attacker.trains_on) for those in attackers for attacker in those)
    training = f", of whom {trained} train first" if trained else ""
    who = f"{number} attacker{'s' if number > 1 else ''}{training}"
    return f"{number * texts:,} searches: {who}, on the vectors of {texts} texts"


def _attack(
    plan: Plan, reader: Reader, defence: MadeDefence | None, attacker: Attacker, mark: str
) -> Attack:
    """An attacker with what reads for it, which is trained where the attacker trains."""
    if call := attacker.trains_on:
        facts = (reader.folder, plan.train_budget, plan.public, plan.lengths, plan.seed)
        training = Training(mark, *facts)
        learnt = retrained(reader.inverter, training, lambda v: attacker.restore(call(v)))
        reader = Reader(learnt, reader.folder, reader.rounds, reader.beam)
    return Attack(defence, attacker, reader, f"{mark} {attacker.name}")


def _search(
    plan: Plan, attacks: Sequence[Attack], samples: Sequence[Sample]
) -> list[dict[str, Any]]:
    """Each attacker's figures on texts of all lengths."""
    pairs = [(attack, sample) for attack in attacks for sample in samples]
    kept = sum(a.reader.count_kept(sample.references, a.name) for a, sample in pairs)
    total = len(attacks) * sum(len(sample.references) for sample in samples)
    found = []
    with progress("searching", total, kept, shown=is_first()) as tick:
        for attack in attacks:
            spec = attack.defence.spec if attack.defence else "no defence"
            lengths = []
            for sample in samples:
                tick.say(f"{spec}: attacker {attack.attacker.name}, {sample.tokens} tokens")
                lengths.append(_figures(attack, sample, tick, 0 if plan.redact else WORST))
            who = attack.attacker
            found.append({"name": who.name, "knows": who.knows, "lengths": lengths})
    return found


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="minutes")


def _public(inverter: Inverter, plan: Plan) -> tuple[list[str], np.ndarray]:
    """The public texts, cut to all lengths in turn, and their vectors: float32 [m, dim]."""
    if not plan.defences:
        return [], np.zeros((0, 0), np.float32)
    embedder, tokenizer = inverter.embedder, inverter.tokenizer
    cut = [
        reference(text, tokenizer, embedder, plan.lengths[i % len(plan.lengths)])
        for i, text in enumerate(plan.public)
    ]
    texts = [text for text in cut if text]
    return texts, embed(embedder, texts, "embedding the public texts")


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


def _figures(attack: Attack, sample: Sample, tick: Tick, shown: int) -> dict[str, Any]:
    """An attacker's figures on texts of one length, with the `shown` ones read out best."""
    attacker, reader, texts = attack.attacker, attack.reader, sample.references
    held = attacker.hold(sample.vectors)
    result: dict[str, Any] = {"tokens": sample.tokens, "n": len(held)}
    if attacker.repeats is None:
        readings = reader.read(attacker.restore(held), texts, attack.name, tick)
    else:
        knowledge = Knowledge(attacker.repeats, attacker.restore)
        readings = reader.read(held, texts, attack.name, tick, knowledge)
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
    cosines = cosine(vectors, sample.vectors).round(DIGITS)
    return [
        {"text": sample.references[i], "found": found[i], "cosine": float(cosines[i])}
        for i in np.argsort(-cosines, kind="stable")[:count].tolist()
    ]
