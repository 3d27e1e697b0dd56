"""The commands that search, invert and evaluate, and the options that they share."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from nanov2t.cli import inputs
from nanov2t.cli.inputs import loading
from nanov2t.core.errors import UserError
from nanov2t.core.files import check_writable
from nanov2t.core.passages import drafts_file, drafts_of, read_rows
from nanov2t.pretrained import DEFAULT
from nanov2t.search.options import BEAM, UNLIMITED, Budget, Effort, SearchOptions

if TYPE_CHECKING:
    from nanov2t.inverter import Inverter
    from nanov2t.stores.base import Rows, Store


@dataclass(kw_only=True)
class SearchArguments:
    """The options that all searching commands share."""

    inverter: Annotated[str, arg(metavar="NAME")] = DEFAULT
    """Name of a bundled inverter or a published release, a folder, or a model on the Hub."""
    hypothesizer: Annotated[str | None, arg(metavar="NAME")] = None
    """Another inverter, which writes the first hypotheses for the corrector of --inverter."""
    embedder: Annotated[str | None, arg(metavar="NAME")] = None
    """What made the vectors: name or folder of a Sentence Transformers model, openai:MODEL[@URL],
    or module:function. Default: the inverter's own. The bundled inverter reads any embedder's."""
    search: Literal["default", "evolution", "beam", "exhaustive"] = "default"
    """`evolution` needs an inverter that looks inside its embedder. `exhaustive` is the published
    search, for comparison. `default` is evolution if the inverter can do it, else beam."""
    effort: Effort = "default"
    """How much to spend on each vector."""
    budget: Annotated[str | None, arg(metavar="N|TIME")] = None
    """Stop after this many embeddings (5000) or this long (30s, 2m) for each vector."""
    rounds: int | None = None
    """Most rounds after the first guess; by default 60 in an evolution, 6 in a beam search and 50
    in the exhaustive one. --effort changes the first two."""
    beam: int = BEAM
    """Hypotheses that a beam search keeps. An evolution always keeps 64."""
    tolerance: float | None = None
    """A text is exact if 1 - cosine is at most this. Default: rounding and the embedder's own
    noise. Try .001 to .01 if another build of the embedder made the vectors."""

    @property
    def options(self) -> SearchOptions:
        return SearchOptions(
            rounds=self.rounds,
            beam=self.beam,
            budget=UNLIMITED if self.budget is None else Budget.parse(self.budget),
            search=self.search,
            effort=self.effort,
            tolerance=self.tolerance,
        )

    def load(self, device: str | None = None) -> Inverter:
        """Load the inverter, and report its price if another machine judges."""
        names = self.inverter, self.hypothesizer, self.embedder
        with loading(self.inverter):
            from nanov2t.load import load_inverter

            inverter = load_inverter(*names, device).with_options(**vars(self.options))
        if inverter.price:
            inputs.say(inverter.price)
        return inverter

    def check(self, *folders: Path | None, **least: int) -> inputs.Facts:
        """Refuse bad options before anything is loaded, as :func:`inputs.check` and more. Returns
        what is known of the inverter."""
        inputs.check(self, *folders, rounds=0, beam=1, **least)
        if self.tolerance is not None and not 0 < self.tolerance < 1:
            raise UserError(f"--tolerance must lie between 0 and 1, not {self.tolerance:g}")
        _ = self.options  # refuses a bad --budget
        if self.hypothesizer is not None:
            inputs.check_inverter(self.hypothesizer)
        return inputs.check_inverter(self.inverter)

    def fit(self, source: Store, reads: int | None) -> None:
        """Refuse vectors of another dimension than the inverter reads."""
        if self.embedder is None and reads not in (None, source.dim):
            hint = "; name the model that made them with --embedder"
            if source.count == reads:
                hint = f": {source.count} rows of {source.dim}, transposed?"
            said = f"inverter {self.inverter} reads {reads}{hint}"
            raise UserError(f"{source.name}: vectors of {source.dim} dimensions, but {said}")


@dataclass
class Invert(SearchArguments):
    """Turn vectors back into text. A TEXT is embedded, and then only its vector is used.

    On a terminal you watch the rounds. In a pipe or with --json, every vector gives a line of JSON.
    If one cannot be inverted, its line has an `error`, and the exit code is 2. With --out, whole
    vector stores are inverted into Parquet files; run the same command again to resume.
    """

    texts: Positional[Annotated[tuple[str, ...], arg(metavar="[TEXT ...]")]] = ()
    """Texts to embed and invert. `-` reads lines from standard input."""
    vectors: Annotated[str | None, arg(metavar="SOURCE")] = None
    """Vectors to invert: a file such as .npy or .parquet, a folder or glob of them, with the column
    or key after a #; or a database such as chroma:PATH#COLLECTION. docs/stores.md lists all."""
    out: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """Write the results to this folder as Parquet. Meant for millions of vectors."""
    ids: Annotated[str | None, arg(metavar="COLUMN")] = None
    """Column of the ids. Default: the store's own ids, or row numbers."""
    limit: int | None = None
    """Read only the first N vectors."""
    engine: Literal["local", "ray"] = "local"
    """With --out, `ray` splits the work over a Ray cluster."""
    address: Annotated[str | None, arg(metavar="HOST:PORT")] = None
    """Address of the Ray cluster. Default: start one on this machine."""
    json: bool = False
    """Print JSON lines on a terminal, too."""

    def run(self) -> None:
        if bool(self.texts) == (self.vectors is not None):
            raise UserError("give either texts or --vectors FILE")
        known = self.check(limit=1)
        if self.address and self.engine != "ray":
            raise UserError("--address needs --engine ray")
        if self.vectors is not None and self.out is not None:
            self._to_folder(known.dim, self.vectors, self.out)
            return
        for name, value in (("out", self.out), ("ids", self.ids)):
            if value is not None and not self.vectors:
                raise UserError(f"--{name} needs --vectors")
        if self.engine != "local":
            raise UserError(f"--engine {self.engine} needs --vectors and --out")
        self._to_output(known.dim)

    def _to_output(self, dim: int | None) -> None:
        from nanov2t.stores.base import Rows
        from nanov2t.stores.registry import open_source

        texts = inputs.read_texts(self.texts)[: self.limit]
        heads: list[dict[str, Any]] = [{"text": text} for text in texts]
        rows = None
        if self.vectors is not None:
            source = open_source(self.vectors, self.ids)
            rows = source.read(0, min(source.count, self.limit or source.count))
            heads = [{"id": id_, "text": None} for id_ in rows.ids]
            self.fit(source, dim)
        inverter = self.load()
        references = inputs.references_of(inverter, texts)
        rows = rows or Rows([], inverter.embedder.encode(references), {})
        errors = rows.errors
        inverter.check(rows.vectors[[i for i in range(len(heads)) if i not in errors]])
        aligned = inverter.alignment if self.vectors else None
        if aligned and (doubt := aligned.doubt(rows.vectors)):
            inputs.say(doubt)
        if self.json or not sys.stdout.isatty():
            self._to_lines(inverter, rows, heads)
        else:
            self._to_terminal(inverter, rows, heads, references)
        if self.vectors and errors:
            i, reason = min(errors.items())
            more = f", and {len(errors) - 1} more cannot be inverted" if len(errors) > 1 else ""
            raise UserError(f"{self.vectors.rpartition('@')[2]}: vector {i} is {reason}{more}")

    def _to_lines(self, inverter: Inverter, rows: Rows, heads: list[dict[str, Any]]) -> None:
        from nanov2t.cli.report import as_json
        from nanov2t.core.progress import progress
        from nanov2t.evaluation.shared import watched

        waiting: dict[int, dict[str, Any]] = {
            i: {"inverted": None, "error": error} for i, error in rows.errors.items()
        }
        good = [i for i in range(len(heads)) if i not in waiting]
        # On a terminal the lines themselves show the progress.
        shown = len(good) > 1 and sys.stderr.isatty() and not sys.stdout.isatty()
        with progress("inverting", len(good), shown=shown) as tick:
            stream = watched(inverter, rows.vectors[good], tick)
            for i, head in enumerate(heads):
                while i not in waiting:  # searches end out of order
                    place, found = next(stream)
                    waiting[good[place]] = as_json(found)
                print(json.dumps(head | waiting.pop(i), ensure_ascii=False), flush=True)

    def _to_terminal(
        self, inverter: Inverter, rows: Rows, heads: list[dict[str, Any]], references: list[str]
    ) -> None:
        from rich.console import Console

        from nanov2t.cli.report import show_inversion

        console = Console()
        for i, (head, vector) in enumerate(zip(heads, rows.vectors, strict=True)):
            if "id" in head:
                console.print(f"id {head['id']}", style="dim", markup=False, highlight=False)
            if i in rows.errors:
                console.print(f"{rows.errors[i]}\n", style="red", markup=False)
            else:
                reference = references[i] if references else None
                show_inversion(inverter, vector, reference, console)

    def _to_folder(self, dim: int | None, vectors: str, out: Path) -> None:
        from nanov2t.bulk import finished_folder, request_of, settings_of
        from nanov2t.core.imports import import_client
        from nanov2t.evaluation.shared import is_first
        from nanov2t.seal import seal
        from nanov2t.stores.registry import open_source

        if self.engine == "ray":
            import_client("ray", "ray")
        source = open_source(vectors, self.ids)
        models = ("inverter", "hypothesizer", "embedder")
        others = {*models, "texts", "vectors", "out", "engine", "address", "json"}
        options = {name: value for name, value in vars(self).items() if name not in others}
        request = request_of(options, [getattr(self, name) for name in models])
        count = min(source.count, self.limit or source.count)
        known = settings_of(source, count, self.options)
        if self.rounds is not None:
            known["rounds"] = self.rounds
        if folder := finished_folder(out, known, request):
            if is_first():
                seal(out)
                folder.show()
            return
        self.fit(source, dim)
        check_writable(out)
        settings = (out, self.limit)
        if self.engine == "ray":
            from nanov2t.ray import invert_to_folder

            given = (self.load, vectors, self.ids, *settings, request)
            invert_to_folder(*given, address=self.address)
            return
        with loading(self.inverter):
            from nanov2t.bulk import BulkRun
            from nanov2t.evaluation.shared import local_device
        BulkRun(self.load(local_device()), source, *settings, request).finish()


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
    """Start from these: JSON lines with `idx` and `draft`, or a folder of SPLIT.hyps.jsonl."""
    out: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """Write the figures (metrics.jsonl) and texts (results.parquet) of every round here."""
    json: bool = False
    """Print one JSON object."""

    def run(self) -> None:
        self.check(self.out, limit=1)
        file = self.drafts and drafts_file(self.drafts, self.split)
        with loading(self.texts):
            rows, texts, drafts = self._texts(file)
        with loading(self.inverter):
            from rich.console import Console

            from nanov2t.cli.report import figures
            from nanov2t.evaluation.metrics import summarize, write_results
            from nanov2t.evaluation.shared import invert_shared, is_first, local_device
        inverter = self.load(local_device())
        references = inputs.references_of(inverter, texts)
        # Every process embeds all texts: other batches could change the last digits.
        vectors = inverter.embedder.encode(references)
        inverter.check(vectors)
        found = invert_shared(inverter, vectors, drafts)
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
