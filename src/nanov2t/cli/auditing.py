"""The commands of auditors: audit, match and check."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from nanov2t.cli import inputs
from nanov2t.cli.inputs import loading
from nanov2t.cli.searching import TextArguments
from nanov2t.core.errors import UserError
from nanov2t.core.passages import read_passages
from nanov2t.train.config import seconds

if TYPE_CHECKING:
    from nanov2t.matching import Candidates
    from nanov2t.matching import Match as Found
    from nanov2t.stores.base import Store

LENGTHS = (4, 8, 16, 32)
RECORDS, PUBLIC = 200, 1024
"""Synthetic records to attack and to learn from if no texts are given."""
CANDIDATES = 2000
"""Texts for membership inference at most."""
MAX_SEED = 2**63 - 1
"""torch takes no larger ones."""
SHOWN = 50
"""Most matches in a table."""
FAR = 0.5
"""If no row of a store is as near as this to a text, another embedder may have made it."""


@dataclass
class Match:
    """Find the rows of a store that hold given texts. Nothing is inverted: the texts are embedded
    and compared with every row.

    On a terminal you see a table. In a pipe or with --json, every match gives a line of JSON. With
    --out, the matches go to Parquet files; run the same command again to resume.
    """

    source: Positional[Annotated[str, arg(metavar="SOURCE")]]
    """The store, as in `nanov2t invert --vectors`."""
    texts: Annotated[str, arg(metavar="FILE")]
    """The texts to look for: .txt (one a line), .jsonl or .parquet, also .gz or .xz."""
    column: Annotated[str, arg(metavar="COLUMN")] = ""
    """Column of the text; default: text."""
    embedder: Annotated[str | None, arg(metavar="NAME")] = None
    """What made the vectors, as in `nanov2t invert`. Default: minilm."""
    near: Annotated[float | None, arg(metavar="COS")] = None
    """Also list rows from this cosine on, such as 0.95."""
    tolerance: float | None = None
    """A row holds a text if 1 - cosine is at most this. Default: rounding. Try .001 to .01 if
    another build of the embedder made the vectors."""
    ids: Annotated[str | None, arg(metavar="COLUMN")] = None
    """Column of the ids. Default: the store's own ids, or row numbers."""
    out: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """Write the matches to this folder as Parquet."""
    json: bool = False
    """Print JSON lines on a terminal, too."""

    def run(self) -> None:
        from nanov2t.stores.registry import open_source

        inputs.check(self, self.out)
        source = open_source(self.source, self.ids)
        with loading(self.embedder or "minilm"):
            from nanov2t.embedders.registry import load_embedder
            from nanov2t.matching import Candidates

            embedder = load_embedder(self.embedder or "minilm")
            source.expect(embedder.dim, embedder.name)
            texts = list(read_passages(self.texts, column=self.column))
            candidates = Candidates(texts, embedder, self.near, self.tolerance)
        parts = candidates.scan(source)
        if self.out is not None:
            parts = candidates.scan_to_folder(source, self.source, self.out)
        self._print(candidates, (match for part in parts for match in part))

    def _print(self, candidates: Candidates, matches: Iterable[Found]) -> None:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        lines = self.json or not sys.stdout.isatty()
        table = Table("cosine", "id", "text", box=None, padding=(0, 2, 0, 0), header_style="dim")
        texts, rows = set(), set()
        for match in matches:
            texts.add(match.text)
            rows.add(match.row)
            if lines:
                print(json.dumps(match._asdict(), ensure_ascii=False), flush=True)
            elif len(table.rows) < SHOWN:
                value = "exact" if match.exact else f"{match.cosine:.4f}"
                table.add_row(value, str(match.id), Text(match.text))
        missed = [text for text in candidates.texts if text not in texts]
        if not lines:
            for text in missed[: SHOWN - len(table.rows)]:
                table.add_row("not found", "", Text(text))
            Console().print(table)
        bad = f", {candidates.bad:,} of them with a bad vector" if candidates.bad else ""
        of = f"{candidates.rows:,} rows{bad}; the highest cosine is {candidates.nearest:.4f}"
        found = len(candidates.texts) - len(missed)
        inputs.say(f"found {found} of {len(candidates.texts)} texts in {len(rows):,} of {of}")
        if candidates.nearest < FAR:
            name = candidates.embedder.name
            inputs.say(f"so low that another embedder than {name} may have made the vectors")


@dataclass
class Check:
    """Prove that an output folder of invert, match or audit is complete and unaltered since the run
    ended. If it is not, every fault is named, and the exit code is 1."""

    folder: Positional[Annotated[Path, arg(metavar="DIR")]]
    """The folder that the command wrote."""

    def run(self) -> None:
        from nanov2t.seal import SEAL, check_folder, source_hash

        settings, faults = check_folder(self.folder)
        for name, value in settings.items():
            both = value.values() if isinstance(value, dict) else [value]
            print(f"{name}: {', '.join(map(str, both))}")
        if faults:
            print("\n".join(f"nanov2t: {fault}" for fault in faults), file=sys.stderr)
            sys.exit(1)
        print(f"whole and unaltered; SHA-256 of {SEAL}: {source_hash(str(self.folder / SEAL))}")


@dataclass(kw_only=True)
class Audit(TextArguments):
    """Measure how much the vectors of a store, or of your texts, give away, and what defences save
    and cost.

    Attackers read the vectors, plain and with each defence; see docs/audit.md. Run the same command
    again to resume. `torchrun -m nanov2t audit ...` splits it between processes.
    """

    out: Annotated[Path, arg(metavar="FOLDER")]
    """Folder for report.html, report.json and the texts that attackers found."""
    vectors: Annotated[str | None, arg(metavar="SOURCE")] = None
    """The store to attack, as in `nanov2t invert`: --limit of its rows, drawn at random."""
    text_column: Annotated[str | None, arg(metavar="COLUMN")] = None
    """The column of the texts beside the vectors. Without it, the report says what came
    back, how certain it is and which kinds of content are in it."""
    texts: Annotated[str | None, arg(metavar="FILE")] = None
    """The texts to attack, as in `nanov2t evaluate`. Default: synthetic records of people."""
    queries: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """Folder of queries and judgements in BEIR's format, to measure retrieval: corpus.jsonl,
    queries.jsonl and qrels/SPLIT.tsv. Default: half of each text must find the other half."""
    public: Annotated[str | None, arg(metavar="FILE")] = None
    """Texts from which attackers learn; best if like --texts. Default: synthetic records."""
    lengths: tuple[int, ...] = LENGTHS
    """Cut the texts to each of these numbers of tokens. The texts of a store stay whole."""
    limit: int = 50
    """Attack at most N texts of each length, or rows of the store."""
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
    sarif: Annotated[Path | None, arg(metavar="FILE")] = None
    """Write the broken limits of the gate to this file as SARIF 2.1.0, for code scanning."""
    baseline: Annotated[Path | None, arg(metavar="FILE")] = None
    """An earlier report.json. If a figure is worse than its interval there, exit with 1."""
    redact: bool = False
    """Show no texts in the report."""

    def run(self) -> None:
        from nanov2t.audit.judging import judge, read_gate, read_report, regressions, sentence

        source, lengths = self._check()
        limits = read_gate(self.gate, lengths) if self.gate else []
        earlier = read_report(self.baseline) if self.baseline else None
        with loading(self.vectors or self.texts or "records"):
            given = self._given(source)
        with loading(self.inverter):
            from nanov2t.audit.attackers import Reader
            from nanov2t.audit.finding import finding
            from nanov2t.audit.page import write_report, write_sarif
            from nanov2t.audit.run import Plan, audit, audit_vectors
            from nanov2t.evaluation.shared import is_first, local_device
            from nanov2t.seal import seal, source_hash
        same = ("limit", "defence", "seed", "redact", "train_budget")
        given |= {name: getattr(self, name) for name in same}
        plan = Plan(**given, lengths=lengths, pairs=sorted({*self.pairs}), limits=limits)
        reader = Reader(self.load(local_device()), self.out / "found")
        say = inputs.say if is_first() else lambda line: None
        report = audit(plan, reader, say) if plan.texts else audit_vectors(plan, reader)
        if not is_first():
            return
        if self.vectors:
            report["store"]["sha256"]["after"] = source_hash(self.vectors)
        verdicts = judge(limits, report)
        worse = regressions(report, earlier) if earlier else None
        report |= {"gate": verdicts if limits else None, "regressions": worse}
        report["finding"] = finding(report)
        print(write_report(self.out, report, shlex.join(["nanov2t", *sys.argv[1:]])))
        seal(self.out, again=True)
        broken = [verdict for verdict in verdicts if not verdict["kept"]]
        if self.sarif and self.gate:
            write_sarif(self.sarif, report, self.gate)
        for line in [*map(sentence, broken), *(worse or [])]:
            print(line, file=sys.stderr)
        if worse or any(verdict["severity"] == "error" for verdict in broken):
            sys.exit(1)

    def _given(self, source: Store | None) -> dict[str, Any]:
        """What the plan of the audit takes from files: texts, vectors and judgements."""
        from nanov2t.audit.content import make_records
        from nanov2t.audit.figures import halves, read_beir
        from nanov2t.audit.store import draw

        def read(source: str | None, count: int, seed: int) -> list[str]:
            if source is None:
                return make_records(count, seed)
            return list(read_passages(source, self.split, self.column))

        store = draw(source, self.vectors or "", self.limit, self.seed) if source else None
        # Fewer candidates than CANDIDATES could not tell 0.1 % of false positives.
        candidates = store.texts if store else read(self.texts, CANDIDATES, seed=0)
        texts = candidates if store or self.texts else candidates[:RECORDS]
        public = read(self.public, PUBLIC, seed=1) if self.defence or self.train_budget else []
        if self.defence and max(self.pairs, default=0) > len(public):
            most = f"between 2 and {len(public)}, the public texts"
            raise UserError(f"--pairs {max(self.pairs)}: {most}")
        found = {"texts": texts, "public": public, "candidates": candidates[:CANDIDATES]}
        judgements = read_beir(self.queries, self.split) if self.queries else None
        return found | {
            "judgements": judgements or (halves(texts) if texts else None),
            "store": store,
        }

    def _check(self) -> tuple[Store | None, list[int]]:
        """Refuse bad options before anything is read or loaded. Returns the store, if there is one,
        and the lengths of texts."""
        from nanov2t.defences import check_defence

        known = self.check(self.out, limit=2, seed=0, lengths=1, pairs=2)
        if self.seed > MAX_SEED:
            raise UserError(f"--seed must be at most {MAX_SEED}, not {self.seed}")
        if not seconds(self.train_budget, "--train-budget"):
            raise UserError(f"--train-budget must be more than {self.train_budget}")
        for spec in self.defence:
            check_defence(spec, known.dim)
        if self.queries is not None and not self.queries.is_dir():
            raise UserError(f"{self.queries}: no such folder")
        for name, needs in (("sarif", "gate"), ("text_column", "vectors")):
            if getattr(self, name) and not getattr(self, needs):
                raise UserError(f"--{name.replace('_', '-')} needs --{needs}")
        if self.vectors is None:
            if not self.lengths:
                raise UserError("--lengths: give at least one")
            if known.max_tokens is not None and max(self.lengths) > known.max_tokens:
                writes = f"inverter {self.inverter} writes 1 to {known.max_tokens} tokens"
                raise UserError(f"--lengths {max(self.lengths)}: {writes}")
            return None, sorted({*self.lengths})
        if self.texts or self.lengths != LENGTHS:
            raise UserError("--vectors: leave out --texts and --lengths: stored texts count")
        for name in ("gate", "baseline", "defence", "queries", "train_budget"):
            if getattr(self, name) and not self.text_column:
                raise UserError(f"--{name.replace('_', '-')} needs --text-column, to compare with")
        from nanov2t.stores.registry import open_source

        source = open_source(self.vectors, self.text_column)
        if self.text_column and source.integer_ids:
            raise UserError(f"{source.name}: {self.text_column} holds whole numbers, not texts")
        self.fit(source, known.dim)
        return source, [known.max_tokens or LENGTHS[-1]]
