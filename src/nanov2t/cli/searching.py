"""The invert command, and the options that all searching commands share."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from nanov2t.cli import inputs
from nanov2t.core.errors import UserError
from nanov2t.core.files import check_writable
from nanov2t.pretrained import DEFAULT
from nanov2t.search.options import BEAM, UNLIMITED, Budget, Effort, SearchOptions

if TYPE_CHECKING:
    from nanov2t.inverter import Inverter
    from nanov2t.stores.base import Rows


@dataclass(kw_only=True)
class SearchArguments:
    """The options that all searching commands share."""

    inverter: Annotated[str, arg(metavar="NAME")] = DEFAULT
    """Name of a bundled inverter or a published release, a folder, or a model on the Hub."""
    hypothesizer: Annotated[str | None, arg(metavar="NAME")] = None
    """Another inverter, which writes the first hypotheses for the corrector of --inverter."""
    embedder: Annotated[str | None, arg(metavar="NAME")] = None
    """The embedder that made the vectors: name or folder of a Sentence Transformers model,
    openai:MODEL[@URL], or module:function. Default: the inverter's own. The bundled inverter reads
    the vectors of any embedder."""
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
        return SearchOptions(self.rounds, self.beam)

    @property
    def limits(self) -> Budget:
        return UNLIMITED if self.budget is None else Budget.parse(self.budget)

    def load(self, device: str | None = None) -> Inverter:
        """Load the inverter, and report its price if another machine judges."""
        means: dict[str, Any] = {"effort": self.effort, "tolerance": self.tolerance}
        names = self.inverter, self.hypothesizer, self.embedder
        with inputs.loading(self.inverter):
            from nanov2t.load import load_inverter

            inverter = load_inverter(*names, device, self.search, budget=self.limits, **means)
        if inverter.price:
            inputs.say(inverter.price)
        return inverter

    def check(self, *folders: Path | None, **least: int) -> None:
        """Refuse bad options before anything is loaded: as :func:`inputs.check`."""
        inputs.check(self, *folders, rounds=0, beam=1, **least)
        if self.tolerance is not None and not 0 < self.tolerance < 1:
            raise UserError(f"--tolerance must lie between 0 and 1, not {self.tolerance:g}")
        _ = self.limits  # refuses a bad --budget

    def look_up(self, source: str = "", shape: tuple[int, ...] | None = None) -> inputs.Facts:
        """Read what is known of the inverter before it is loaded. There must be one, and it must
        read vectors of the dimension of `shape` [n, dim], which are those of `source`."""
        if self.hypothesizer is not None:
            inputs.check_inverter(self.hypothesizer)
        known = inputs.check_inverter(self.inverter)
        if shape and self.embedder is None and known.dim not in (None, shape[1]):
            name = source.rpartition("@")[2]  # a URL may have a password before the @
            hint = "; name the model that made them with --embedder"
            if shape[0] == known.dim:
                hint = f": {shape[0]} rows of {shape[1]}, transposed?"
            reads = f"inverter {self.inverter} reads {known.dim}{hint}"
            raise UserError(f"{name}: vectors of {shape[1]} dimensions, but {reads}")
        return known


@dataclass
class Invert(SearchArguments):
    """Turn vectors back into text.

    A TEXT is embedded, and then only its vector is used. On a terminal you watch the rounds. In a
    pipe or with --json, every vector gives one JSON object on a line. A vector that cannot be
    inverted has an `error` there, and the exit code is 2 at the end. With --out, whole vector
    stores are inverted into Parquet files; run the same command again to resume.
    """

    texts: Positional[Annotated[tuple[str, ...], arg(metavar="[TEXT ...]")]] = ()
    """Texts to embed and invert. `-` reads lines from standard input."""
    vectors: Annotated[str | None, arg(metavar="SOURCE")] = None
    """Vectors to invert: a file such as .npy, .parquet, .csv or .json, a folder or glob of them,
    with the column or key after a #; or a database such as chroma:PATH#COLLECTION. docs/stores.md
    lists them all."""
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
        self.check(limit=1)
        if self.address and self.engine != "ray":
            raise UserError("--address needs --engine ray")
        if self.vectors is not None and self.out is not None:
            self._to_folder(self.vectors, self.out)
            return
        for name, value in (("out", self.out), ("ids", self.ids)):
            if value is not None and not self.vectors:
                raise UserError(f"--{name} needs --vectors")
        if self.engine != "local":
            raise UserError(f"--engine {self.engine} needs --vectors and --out")
        self._to_output()

    def _to_output(self) -> None:
        from nanov2t.stores.base import Rows
        from nanov2t.stores.registry import open_source

        texts = inputs.read_texts(self.texts)[: self.limit]
        heads: list[dict[str, Any]] = [{"text": text} for text in texts]
        rows = None
        if self.vectors is not None:
            source = open_source(self.vectors, self.ids)
            rows = source.read(0, min(source.count, self.limit or source.count))
            heads = [{"id": id_, "text": None} for id_ in rows.ids]
        self.look_up(self.vectors or "", rows.vectors.shape if rows else None)
        inverter = self.load()
        references = inputs.references_of(inverter, texts)
        if rows is None:
            rows = Rows([], inverter.embedder.encode(references), {})
        elif inverter.alignment and (doubt := inverter.alignment.doubt(rows.vectors)):
            inputs.say(doubt)
        errors = rows.errors
        inverter.check(rows.vectors[[i for i in range(len(heads)) if i not in errors]])
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
            stream = watched(inverter, rows.vectors[good], self.options, tick)
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
                show_inversion(inverter, vector, reference, self.options, console)

    def _to_folder(self, vectors: str, out: Path) -> None:
        from nanov2t.bulk.folder import finished_folder, request_of, settings_of
        from nanov2t.bulk.summary import show_folder
        from nanov2t.core.imports import import_client
        from nanov2t.evaluation.shared import is_first
        from nanov2t.stores.registry import open_source

        if self.engine == "ray":
            import_client("ray", "ray")
        source = open_source(vectors, self.ids)
        models = ("inverter", "hypothesizer", "embedder")
        others = {*models, "texts", "vectors", "out", "engine", "address", "json"}
        options = {name: value for name, value in vars(self).items() if name not in others}
        request = request_of(options, [getattr(self, name) for name in models])
        count = min(source.count, self.limit or source.count)
        known = settings_of(source, count, self.search, self.effort, self.limits, self.beam)
        if self.rounds is not None:
            known["rounds"] = self.rounds
        if folder := finished_folder(out, known, request):
            if is_first():
                show_folder(folder)
            return
        self.look_up(source.name, (source.count, source.dim))
        check_writable(out)
        settings = (out, self.rounds, self.beam, self.limit)
        if self.engine == "ray":
            from nanov2t.ray import invert_to_folder

            invert_to_folder(self.load, vectors, self.ids, *settings, self.address, request)
            return
        with inputs.loading(self.inverter):
            from nanov2t.bulk.run import invert_source
            from nanov2t.evaluation.shared import local_device
        invert_source(self.load(local_device()), source, *settings, request)
