"""The command that audits. Free of torch, so that help is instant."""

from __future__ import annotations

import shlex
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from nanov2t.cli.checks import Facts
from nanov2t.cli.quiet import loading
from nanov2t.cli.searching import SearchArguments
from nanov2t.core.errors import UserError
from nanov2t.core.files import check_writable
from nanov2t.core.passages import check_source, read_passages
from nanov2t.train.config import seconds

RECORDS = 200
PUBLIC = 1024
"""Synthetic records, where no texts are given."""


SEEDS = 2**63
"""torch takes no larger ones."""


@dataclass(kw_only=True)
class Audit(SearchArguments):
    """How much of texts their embeddings give away, and what a defence saves and costs.

    The texts' vectors are attacked, plain and with each defence; docs/audit.md says by whom. OUT
    holds the report, and what was found so far: the same command goes on where it was stopped.
    `torchrun -m nanov2t audit ...` shares the work out; the report is that of one process.
    """

    out: Annotated[Path, arg(metavar="FOLDER")]
    """Folder for report.html, report.json, and what was found."""
    texts: Annotated[str | None, arg(metavar="FILE")] = None
    """The texts, as in `nanov2t evaluate`; by default synthetic records with names, dates, e-mail
    addresses, phone numbers and other numbers."""
    queries: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """Folder of queries and judgements in BEIR's format, corpus.jsonl, queries.jsonl and
    qrels/SPLIT.tsv, for what retrieval is worth; by default the first half of each text has to find
    its second half."""
    split: Annotated[str, arg(metavar="SPLIT")] = "test"
    """Of a data set, and of the judgements."""
    column: Annotated[str, arg(metavar="COLUMN")] = ""
    """What holds the text, by default `text`."""
    public: Annotated[str | None, arg(metavar="FILE")] = None
    """Texts that are no secret, from which attackers learn what undefended vectors are like; the
    nearer to `texts` the better. By default synthetic records."""
    lengths: tuple[int, ...] = (4, 8, 16, 32)
    """Tokens to which the texts are cut."""
    limit: int = 50
    """Texts of each length at most."""
    defence: Annotated[tuple[str, ...], arg(metavar="SPEC ...")] = ()
    """Specs, such as `noise:0.01 int8 bits pq:48 truncate:256 mask:0.25 scale:-2.6 rotation`, or
    `module:function` for one of your own."""
    pairs: tuple[int, ...] = ()
    """For each number, an attacker who has so many public texts with their defended vectors; by
    default as many as the vectors have dimensions."""
    train_budget: Annotated[str, arg(metavar="TIME")] = ""
    """How long, such as 10m, a further attacker of each defence trains the inverter on defended
    vectors of the public texts; by default there is none."""
    seed: int = 0
    """Of what defences and training draw."""
    gate: Annotated[Path | None, arg(metavar="FILE")] = None
    """YAML file of limits, such as `exact_match@16: {max: 5}`. Where one is broken the exit code
    is 1."""
    baseline: Annotated[Path | None, arg(metavar="FILE")] = None
    """report.json of an earlier audit. Where a figure is worse than its interval there, the exit
    code is 1."""
    redact: bool = False
    """Show no texts in the report."""

    def run(self) -> None:
        from nanov2t.audit.baseline import read_report, regressions
        from nanov2t.audit.judgements import halves, read_beir
        from nanov2t.audit.judging import judge, read_gate

        self._check()
        limits = read_gate(self.gate, self.lengths) if self.gate else []
        earlier = read_report(self.baseline) if self.baseline else None
        with loading(self.texts or "records"):
            judgements = read_beir(self.queries, self.split) if self.queries else None
            texts = self._read(self.texts, RECORDS, seed=0)
            learnt_from = self.defence or self.train_budget
            public = self._read(self.public, PUBLIC, seed=1) if learnt_from else []
            if self.pairs and self.defence and max(self.pairs) > len(public):
                raise UserError(
                    f"--pairs {max(self.pairs)}: between 2 and {len(public)}, the public texts"
                )
        with loading(self.inverter):
            from nanov2t.audit.reading import Reader
            from nanov2t.audit.report import write_report
            from nanov2t.audit.run import Plan, audit
            from nanov2t.evaluation.shared import is_first, local_device
        plan = Plan(
            texts=texts,
            public=public,
            lengths=sorted(set(self.lengths)),
            limit=self.limit,
            judgements=judgements or halves(texts),
            defences=self.defence,
            pairs=sorted(set(self.pairs)),
            seed=self.seed,
            limits=limits,
            redact=self.redact,
            train_budget=self.train_budget,
        )
        reader = Reader(self.load(local_device()), self.out / "found", self.rounds, self.beam)
        report = audit(plan, reader, _say if is_first() else lambda line: None)
        if not is_first():
            return
        verdicts = judge(limits, report)
        worse = regressions(report, earlier) if earlier else None
        report["gate"] = [asdict(verdict) for verdict in verdicts] if limits else None
        report["regressions"] = worse
        print(write_report(self.out, report, shlex.join(["nanov2t", *sys.argv[1:]])))
        lines = [str(verdict) for verdict in verdicts if not verdict.kept] + (worse or [])
        if lines:
            print("\n".join(lines), file=sys.stderr)
            sys.exit(1)

    def _check(self) -> None:
        """Refuse what is seen to be wrong before anything is read or loaded."""
        from nanov2t.defences import check_defence

        self.check(limit=2, seed=0, lengths=1, pairs=2)
        if self.seed >= SEEDS:
            raise UserError(f"--seed must be below {SEEDS}, not {self.seed}")
        if not self.lengths:
            raise UserError("--lengths: give at least one")
        if not seconds(self.train_budget, "--train-budget"):
            raise UserError(f"--train-budget must be more than {self.train_budget}")
        known: Facts = self.look_up()
        if known.max_tokens is not None and max(self.lengths) > known.max_tokens:
            raise UserError(
                f"--lengths {max(self.lengths)}: inverter {self.inverter} writes 1 to "
                f"{known.max_tokens} tokens"
            )
        for spec in self.defence:
            check_defence(spec, known.dim)
        for source in (self.texts, self.public):
            if source is not None:
                check_source(source)
        if self.queries is not None and not self.queries.is_dir():
            raise UserError(f"{self.queries}: no such folder")
        check_writable(self.out)

    def _read(self, source: str | None, count: int, seed: int) -> list[str]:
        """The texts of a source, or `count` synthetic records."""
        from nanov2t.audit.records import make_records

        if source is None:
            return make_records(count, seed)
        return list(read_passages(source, self.split, self.column))


def _say(line: str) -> None:
    print(f"nanov2t: {line}", file=sys.stderr)
