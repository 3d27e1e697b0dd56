"""The audit command."""

from __future__ import annotations

import shlex
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from nanov2t.cli.inputs import say
from nanov2t.cli.quiet import loading
from nanov2t.cli.searching import SearchArguments
from nanov2t.core.errors import UserError
from nanov2t.core.files import check_writable
from nanov2t.core.passages import check_source, read_passages
from nanov2t.train.config import seconds

RECORDS, PUBLIC = 200, 1024
"""Synthetic records to attack and to learn from if no texts are given."""
MAX_SEED = 2**63 - 1
"""torch takes no larger ones."""


@dataclass(kw_only=True)
class Audit(SearchArguments):
    """Measure how much embeddings give away of their texts, and what defences save and cost.

    Attackers try to read the vectors of the texts, plain and with each defence; docs/audit.md
    describes them. Run the same command again to resume. `torchrun -m nanov2t audit ...` splits the
    work between processes and writes the same report as one process.
    """

    out: Annotated[Path, arg(metavar="FOLDER")]
    """Folder for report.html, report.json and the texts that attackers found."""
    texts: Annotated[str | None, arg(metavar="FILE")] = None
    """The texts to attack, as in `nanov2t evaluate`. Default: synthetic records with names, dates,
    e-mail addresses, phone numbers and other numbers."""
    queries: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """Folder of queries and judgements in BEIR's format, to measure retrieval: corpus.jsonl,
    queries.jsonl and qrels/SPLIT.tsv. Default: the first half of each text must find its second
    half."""
    split: Annotated[str, arg(metavar="SPLIT")] = "test"
    """Split of a data set and of the judgements."""
    column: Annotated[str, arg(metavar="COLUMN")] = ""
    """Column of the text; default: text."""
    public: Annotated[str | None, arg(metavar="FILE")] = None
    """Texts that are no secret, from which attackers learn. The more they resemble --texts, the
    stronger the attackers. Default: synthetic records."""
    lengths: tuple[int, ...] = (4, 8, 16, 32)
    """Cut the texts to each of these numbers of tokens."""
    limit: int = 50
    """Attack at most N texts of each length."""
    defence: Annotated[tuple[str, ...], arg(metavar="SPEC ...")] = ()
    """Defences to try, such as `noise:0.01 int8 bits pq:48 truncate:256 mask:0.25 scale:-2.6
    rotation`, or `module:function` for one of your own."""
    pairs: tuple[int, ...] = ()
    """Add an attacker for each N, who knows N public texts with their defended vectors. Default:
    one who knows as many as the vectors have dimensions."""
    train_budget: Annotated[str, arg(metavar="TIME")] = ""
    """Add an attacker of each defence who trains the inverter on defended vectors for this long,
    such as 10m."""
    seed: int = 0
    """Seed of the defences and of training."""
    gate: Annotated[Path | None, arg(metavar="FILE")] = None
    """YAML file of limits, such as `exact_match@16: {max: 5}`. A broken limit makes the exit code
    1."""
    baseline: Annotated[Path | None, arg(metavar="FILE")] = None
    """report.json of an earlier audit. A figure worse than its interval there makes the exit code
    1."""
    redact: bool = False
    """Show no texts in the report."""

    def run(self) -> None:
        from nanov2t.audit.judging import judge, read_gate, read_report, regressions
        from nanov2t.audit.retrieval import halves, read_beir

        self._check()
        limits = read_gate(self.gate, self.lengths) if self.gate else []
        earlier = read_report(self.baseline) if self.baseline else None
        with loading(self.texts or "records"):
            judgements = read_beir(self.queries, self.split) if self.queries else None
            texts = self._read(self.texts, RECORDS, seed=0)
            learns = self.defence or self.train_budget
            public = self._read(self.public, PUBLIC, seed=1) if learns else []
            if self.pairs and self.defence and max(self.pairs) > len(public):
                raise UserError(
                    f"--pairs {max(self.pairs)}: between 2 and {len(public)}, the public texts"
                )
        with loading(self.inverter):
            from nanov2t.audit.page import write_report
            from nanov2t.audit.reading import Reader
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
        reader = Reader(self.load(local_device()), self.out / "found", self.options)
        report = audit(plan, reader, say if is_first() else lambda line: None)
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
        """Refuse bad options before anything is read or loaded."""
        from nanov2t.defences import check_defence

        self.check(limit=2, seed=0, lengths=1, pairs=2)
        if self.seed > MAX_SEED:
            raise UserError(f"--seed must be at most {MAX_SEED}, not {self.seed}")
        if not self.lengths:
            raise UserError("--lengths: give at least one")
        if not seconds(self.train_budget, "--train-budget"):
            raise UserError(f"--train-budget must be more than {self.train_budget}")
        known = self.look_up()
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
        from nanov2t.audit.content import make_records

        if source is None:
            return make_records(count, seed)
        return list(read_passages(source, self.split, self.column))
