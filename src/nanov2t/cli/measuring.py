"""The commands that measure: evaluate and audit."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from nanov2t.cli.inputs import loading, references_of, say
from nanov2t.cli.searching import SearchArguments
from nanov2t.core.drafts import drafts_file, drafts_of
from nanov2t.core.errors import UserError
from nanov2t.core.passages import read_passages, read_rows
from nanov2t.train.config import seconds

RECORDS, PUBLIC = 200, 1024
"""Synthetic records to attack and to learn from if no texts are given."""
MAX_SEED = 2**63 - 1
"""torch takes no larger ones."""


@dataclass(kw_only=True)
class TextArguments(SearchArguments):
    """The options of commands that read texts."""

    split: Annotated[str, arg(metavar="SPLIT")] = "test"
    """Split of a data set. If it has no dev and test splits, 1,000 rows are held back for each."""
    column: Annotated[str, arg(metavar="COLUMN")] = ""
    """Column of the text; default: text, or title,text for BEIR. Several columns are joined."""


@dataclass(kw_only=True)
class Evaluate(TextArguments):
    """Measure how well an inverter recovers texts: BLEU, token F1, exact match and cosine after
    every round. `torchrun -m nanov2t evaluate ...` or `accelerate launch` splits the texts between
    processes and prints the same figures as one process."""

    texts: Annotated[str, arg(metavar="FILE")]
    """Texts to embed and invert: a .txt file (one text a line), .jsonl or .parquet, also .gz or
    .xz; or the name or folder of a data set, such as jxm/nq_corpus_dpr or BeIR/scifact."""
    limit: int | None = None
    """Read only the first N texts."""
    drafts: Annotated[Path | None, arg(metavar="FILE")] = None
    """Start from these drafts: JSON lines with `idx`, the text's row from 0, and `draft`; or a
    folder that holds SPLIT.hyps.jsonl."""
    out: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """Write the figures (metrics.jsonl) and texts (results.parquet) of every round here."""
    json: bool = False
    """Print one JSON object."""

    def run(self) -> None:
        self.check(self.out, limit=1)
        file = self.drafts and drafts_file(self.drafts, self.split)
        self.look_up()
        with loading(self.texts):
            rows, texts, drafts = self._texts(file)
        with loading(self.inverter):
            from rich.console import Console

            from nanov2t.cli.report import figures
            from nanov2t.evaluation.metrics import summarize, write_results
            from nanov2t.evaluation.shared import invert_shared, is_first, local_device
        inverter = self.load(local_device())
        references = references_of(inverter, texts)
        # Every process embeds all texts: other batches could change the last digits.
        vectors = inverter.embedder.encode(references)
        inverter.check(vectors)
        found = invert_shared(inverter, vectors, self.options, drafts)
        if not is_first():
            return
        result = summarize(found, references)
        if self.out:
            write_results(self.out, result, dict(zip(rows, references, strict=True)), found)
        if self.json:
            print(json.dumps(result))
        else:
            Console().print(figures(result))

    def _texts(self, file: Path | None) -> tuple[list[int], list[str], list[str] | None]:
        """The numbers of the rows that hold text, their texts, and their drafts from the file."""
        texts: dict[int, str] = {}
        row = -1
        for row, text in enumerate(read_rows(self.texts, self.split, self.column)):
            if text and len(texts) != self.limit:
                texts[row] = text
            elif file is None and len(texts) == self.limit:
                break
        if not texts:
            raise UserError(f"{self.texts}: holds no text")
        drafts = drafts_of(file, range(row + 1), list(texts)) if file else None
        return list(texts), list(texts.values()), drafts


@dataclass(kw_only=True)
class Audit(TextArguments):
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
    queries.jsonl and qrels/SPLIT.tsv. Default: half of each text must find the other half."""
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
    """Add attackers who know N public texts with their defended vectors. Default: the dimension."""
    train_budget: Annotated[str, arg(metavar="TIME")] = ""
    """Add attackers who train the inverter on defended vectors for this long, such as 10m."""
    seed: int = 0
    """Seed of the defences and of training."""
    gate: Annotated[Path | None, arg(metavar="FILE")] = None
    """YAML file of limits, such as `exact_match@16: {max: 5}`. If one is broken, exit with 1."""
    baseline: Annotated[Path | None, arg(metavar="FILE")] = None
    """An earlier report.json. If a figure is worse than its interval there, exit with 1."""
    redact: bool = False
    """Show no texts in the report."""

    def run(self) -> None:
        from nanov2t.audit.figures import halves, read_beir
        from nanov2t.audit.judging import judge, read_gate, read_report, regressions, sentence

        self._check()
        limits = read_gate(self.gate, self.lengths) if self.gate else []
        earlier = read_report(self.baseline) if self.baseline else None
        with loading(self.texts or "records"):
            judgements = read_beir(self.queries, self.split) if self.queries else None
            texts = self._read(self.texts, RECORDS, seed=0)
            learns = self.defence or self.train_budget
            public = self._read(self.public, PUBLIC, seed=1) if learns else []
            if self.defence and max(self.pairs, default=0) > len(public):
                most = f"between 2 and {len(public)}, the public texts"
                raise UserError(f"--pairs {max(self.pairs)}: {most}")
        with loading(self.inverter):
            from nanov2t.audit.attackers import Reader
            from nanov2t.audit.page import write_report
            from nanov2t.audit.run import Plan, audit
            from nanov2t.evaluation.shared import is_first, local_device
        plan = Plan(
            texts,
            public,
            sorted(set(self.lengths)),
            self.limit,
            judgements or halves(texts),
            self.defence,
            sorted(set(self.pairs)),
            self.seed,
            limits,
            self.redact,
            self.train_budget,
        )
        reader = Reader(self.load(local_device()), self.out / "found", self.options)
        report = audit(plan, reader, say if is_first() else lambda line: None)
        if not is_first():
            return
        verdicts = judge(limits, report)
        worse = regressions(report, earlier) if earlier else None
        report |= {"gate": verdicts if limits else None, "regressions": worse}
        print(write_report(self.out, report, shlex.join(["nanov2t", *sys.argv[1:]])))
        lines = [sentence(verdict) for verdict in verdicts if not verdict["kept"]] + (worse or [])
        if lines:
            print("\n".join(lines), file=sys.stderr)
            sys.exit(1)

    def _check(self) -> None:
        """Refuse bad options before anything is read or loaded."""
        from nanov2t.defences import check_defence

        self.check(self.out, limit=2, seed=0, lengths=1, pairs=2)
        if self.seed > MAX_SEED:
            raise UserError(f"--seed must be at most {MAX_SEED}, not {self.seed}")
        if not self.lengths:
            raise UserError("--lengths: give at least one")
        if not seconds(self.train_budget, "--train-budget"):
            raise UserError(f"--train-budget must be more than {self.train_budget}")
        known = self.look_up()
        if known.max_tokens is not None and max(self.lengths) > known.max_tokens:
            writes = f"inverter {self.inverter} writes 1 to {known.max_tokens} tokens"
            raise UserError(f"--lengths {max(self.lengths)}: {writes}")
        for spec in self.defence:
            check_defence(spec, known.dim)
        if self.queries is not None and not self.queries.is_dir():
            raise UserError(f"{self.queries}: no such folder")

    def _read(self, source: str | None, count: int, seed: int) -> list[str]:
        """The texts of a source, or `count` synthetic records."""
        from nanov2t.audit.content import make_records

        if source is None:
            return make_records(count, seed)
        return list(read_passages(source, self.split, self.column))
