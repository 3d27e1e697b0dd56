"""The audit: attack the vectors of texts, plain and defended, and report what came out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np

from nanov2t.audit import figures
from nanov2t.audit.attackers import Attacker, Reader, attackers_of, retrained, trainable
from nanov2t.audit.figures import Judgements, Retrieval, Sample, leakage
from nanov2t.audit.judging import SCHEMA, Limit, refuse_untold
from nanov2t.audit.membership import Membership
from nanov2t.audit.store import Evidence, read_out
from nanov2t.core.files import digest
from nanov2t.core.progress import Tick, progress
from nanov2t.core.vectors import cosine
from nanov2t.defences import Setting, make_defence
from nanov2t.embedders.text import reference
from nanov2t.evaluation.shared import is_first
from nanov2t.inverter import Inverter
from nanov2t.targets import Knowledge

WORST = 5
"""Texts of each length that the report shows: those read out best."""
AGREES = 1 - 1e-6
"""Least cosine at which the defended vector of a text is the one that was attacked."""


class Plan(NamedTuple):
    """What to audit, mostly options of the command. Attackers learn from the public texts, and
    defences are fitted on them."""

    texts: Sequence[str]
    public: Sequence[str]
    lengths: Sequence[int]
    """In the inverter's tokens."""
    judgements: Judgements | None
    """None if there are no texts."""
    pairs: Sequence[int]
    """For each an attacker who knows so many. None: one, with as many as there are dimensions."""
    limits: Sequence[Limit]
    limit: int
    defence: Sequence[str]
    seed: int
    redact: bool
    train_budget: str
    candidates: Sequence[str]
    """For membership inference."""
    store: Evidence | None = None
    """The rows of a store to attack; None if the texts come from a file."""


class Attack(NamedTuple):
    """An attacker of a defence, its row in the report, the reader that inverts for it, and a name
    of what is read."""

    row: dict[str, Any]
    attacker: Attacker
    reader: Reader
    name: str


def audit(plan: Plan, reader: Reader, say: Callable[[str], object]) -> dict[str, Any]:
    """Run an audit, and return the report that docs/audit.md describes. The processes of `torchrun`
    share the searches, and all get the report. `say` gets lines on what was left out and how much
    there is to do. A UserError if the texts, lengths, defences or limits cannot be used."""
    inverter, budget = reader.inverter, plan.train_budget
    if budget:
        trainable(inverter)
    stored = plan.store.vectors if plan.store else None
    make = partial(figures.make_sample, inverter, plan.texts, limit=plan.limit, stored=stored)
    samples = [make(n) for n in plan.lengths]
    membership = Membership(inverter.embedder, plan.candidates, stored)
    assert plan.judgements is not None
    retrieval = Retrieval(inverter.embedder, plan.judgements)
    texts, public = _public(inverter, plan)
    setting = Setting(inverter.embedder.dim, plan.seed, public)
    defences = [None, *(make_defence(spec, setting) for spec in plan.defence)]
    pairs = plan.pairs or [min(public.shape)]
    attackers = [attackers_of(defence, public, pairs, budget) for defence in defences]
    head = head_of(reader, plan) | {"retrieval": retrieval.facts, "membership": membership.facts}
    head["samples"] = [sample.facts for sample in samples]
    refuse_untold(plan.limits, head)
    number, count = sum(map(len, attackers)), sum(len(sample.references) for sample in samples)
    training = f", {len(attackers)} of which train first" if budget else ""
    for line in figures.left_out(head):
        say(line)
    say(f"searches: {number * count:,} (attackers: {number}{training}; texts: {count})")
    learning = plan.public, plan.lengths, budget, plan.seed
    held = plan.store.facts["sha256"]["before"] if plan.store else ""
    rows: list[dict[str, Any]] = []
    attacks = []
    for defence, those in zip(defences, attackers, strict=True):
        mark = digest(defence.spec, defence.source, plan.seed, *texts) if defence else ""
        row: dict[str, Any] = {"defence": defence.spec if defence else "none", "fingerprint": mark}
        row |= {"utility": retrieval.figures(defence), "membership": membership.figures(those)}
        rows.append(row | {"attackers": []})
        for attacker in those:
            change = attacker.learns_from
            own = retrained(reader, change, *learning, mark) if change else reader
            attacks.append(Attack(rows[-1], attacker, own, f"{held}{mark} {attacker.name}"))
    _search(attacks, samples, 0 if plan.redact else WORST)
    return head | {"defences": rows, "readings": []}


def audit_vectors(plan: Plan, reader: Reader) -> dict[str, Any]:
    """Read vectors of a store whose texts are not known, and return the report."""
    assert plan.store is not None
    readings = read_out(reader, plan.store)
    if plan.redact:
        readings = [reading | {"found": ""} for reading in readings]
    nothing: dict[str, Any] = {"samples": [], "retrieval": None, "membership": None, "defences": []}
    return head_of(reader, plan) | nothing | {"readings": readings}


def head_of(reader: Reader, plan: Plan) -> dict[str, Any]:
    """The settings of an audit, for its report."""
    inverter = reader.inverter
    info = inverter.embedder.info
    return {
        "schema": SCHEMA,
        "version": version("nanov2t"),
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "seed": plan.seed,
        "texts": len(plan.texts),
        "public_texts": len(plan.public) if plan.defence or plan.train_budget else 0,
        "train_budget": plan.train_budget or None,
        "store": None if plan.store is None else plan.store.facts,
        "embedder": {"name": info.name, "dim": info.dim, "fingerprint": info.fingerprint},
        "longest": inverter.max_tokens,
        "inverter": {"fingerprint": inverter.fingerprint()}
        | {n: getattr(inverter.options, n) for n in ("search", "effort", "rounds", "beam")},
    }


def _public(inverter: Inverter, plan: Plan) -> tuple[list[str], np.ndarray]:
    """The public texts, cut to all lengths in turn, and their vectors: float32 [m, dim]."""
    if not plan.defence:
        return [], np.zeros((0, 0), np.float32)
    embedder, lengths = inverter.embedder, plan.lengths
    cut = [
        reference(text, inverter.tokenizer, embedder, lengths[i % len(lengths)])
        for i, text in enumerate(plan.public)
    ]
    texts = [text for text in cut if text]
    return texts, figures.embed(embedder, texts, "embedding the public texts")


def _search(attacks: Sequence[Attack], samples: Sequence[Sample], shown: int) -> None:
    """Add each attacker's figures on texts of all lengths to its defence."""
    total = len(attacks) * sum(len(sample.references) for sample in samples)
    kept = sum(x.reader.count_kept(s.references, x.name) for x in attacks for s in samples)
    with progress("searching", total, kept, shown=is_first()) as tick:
        for attack in attacks:
            who, lengths = attack.attacker, []
            spec = "no defence" if attack.row["defence"] == "none" else attack.row["defence"]
            for sample in samples:
                tick.say(f"{spec}: attacker {who.name}, {sample.facts['tokens']} tokens")
                lengths.append(_figures(attack, sample, tick, shown))
            named = {"name": who.name, "knows": who.knows}
            attack.row["attackers"].append(named | {"lengths": lengths})


def _figures(attack: Attack, sample: Sample, tick: Tick, shown: int) -> dict[str, Any]:
    """An attacker's figures on texts of one length, and the `shown` texts that were read out best,
    by the cosine of the undefended vectors."""
    attacker, reader, texts = attack.attacker, attack.reader, sample.references
    held = attacker.hold(sample.vectors)
    result: dict[str, Any] = {"tokens": sample.facts["tokens"], "n": len(held)}
    if attacker.repeats is None:
        readings = reader.read(attacker.restore(held), texts, attack.name, tick)
    else:
        knowledge = Knowledge(attacker.repeats, attacker.restore)
        readings = reader.read(held, texts, attack.name, tick, knowledge)
        agree = [reading["cosine"] >= AGREES for reading in readings]
        result["verified"] = 100 * float(np.mean(agree))
    found = [reading["text"] for reading in readings]
    embedder = reader.inverter.embedder
    cosines = cosine(embedder.encode(found), sample.vectors).round(figures.DIGITS)
    worst = np.argsort(-cosines, kind="stable")[:shown].tolist()
    return {
        **result,
        **leakage(embedder, sample, found),
        # What language and similar texts give away: each text against another one's reading.
        "control": leakage(embedder, sample, [*found[1:], found[0]]),
        "seconds": sum(reading["seconds"] for reading in readings),
        "embedder_calls": sum(reading["embedder_calls"] for reading in readings),
        "worst": [
            {"text": texts[i], "found": found[i], "cosine": float(cosines[i])} for i in worst
        ],
    }
