"""The commands. Free of torch, so that help is instant: each command imports what it needs."""

from __future__ import annotations

import io
import json
import sys
from contextlib import redirect_stderr
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from tyro.conf import Positional, subcommand

from nanov2t.cli.inputs import read_drafts, read_texts, read_vectors, references_of
from nanov2t.core.errors import UserError
from nanov2t.pretrained import DEFAULT
from nanov2t.search.options import BEAM, UNLIMITED, Budget, Effort
from nanov2t.train.config import TrainConfig, load_config

if TYPE_CHECKING:
    import numpy as np

    from nanov2t.inverter import Inverter


@dataclass(kw_only=True)
class SearchArguments:
    """The options that `invert` and `evaluate` share."""

    inverter: str = DEFAULT
    """A bundled inverter's or a release's name, a folder, or a model on the Hub."""
    hypothesizer: str | None = None
    """Another such name, whose generator writes the first hypotheses for the corrector in
    `inverter`."""
    embedder: str | None = None
    """What makes the vectors, where the inverter does not say, or says a name that it has
    elsewhere."""
    search: str = "default"
    """`evolution`, for inverters that look inside their embedder; `beam`; or `exhaustive`, the
    published search, for comparison. `default` is the first that the inverter can do."""
    effort: Effort = "default"
    """How much is spent on a vector."""
    budget: str | None = None
    """Stop after this many embeddings (such as 5000) or this long (30s, 2m) for a vector."""
    rounds: int | None = None
    """Rounds at most after the first guess, in place of the effort's."""
    beam: int = BEAM
    """Hypotheses kept; evolution keeps eight times as many."""

    def load(self, device: str | None = None) -> Inverter:
        from nanov2t.load import load_inverter

        _quiet()
        return load_inverter(
            self.inverter,
            self.hypothesizer,
            self.embedder,
            device,
            self.search,
            effort=self.effort,
            budget=UNLIMITED if self.budget is None else Budget.parse(self.budget),
        )

    def check(self, **least: int) -> None:
        """Refuse options below the least that they may be."""
        for name, low in least.items():
            value = getattr(self, name)
            if value is not None and value < low:
                raise UserError(f"--{name} must be at least {low}, not {value}")


@dataclass
class Invert(SearchArguments):
    """Turn vectors back into text.

    A TEXT is embedded, and then only its vector is used. On a terminal the rounds are shown as they
    go; with --json, or in a pipe, every vector gives one JSON object on a line. With --out, whole
    vector stores are inverted into Parquet files; the same command resumes.
    """

    texts: Positional[tuple[str, ...]] = ()
    """Texts to embed and invert; `-` reads lines from standard input."""
    vectors: str | None = None
    """Vectors to invert: a .npy, .safetensors, .parquet or .jsonl file, its column or key
    after a #; a .faiss file; chroma:PATH#COLLECTION; lancedb:PATH#TABLE; or
    postgresql://...#TABLE.COLUMN."""
    out: Path | None = None
    """Folder for the results, as Parquet; for vectors by the million."""
    ids: str | None = None
    """Column of the ids; by default the store's own ids, or the numbers of the rows. Needs
    --out."""
    limit: int | None = None
    """Only the first so many vectors."""
    json: bool = False
    """Print JSON lines, also on a terminal."""

    def run(self) -> None:
        if bool(self.texts) == (self.vectors is not None):
            raise UserError("give either texts or --vectors FILE")
        self.check(rounds=0, beam=1, limit=1)
        if self.vectors and self.out:
            self._to_folder(self.vectors, self.out)
            return
        for name, value, needs in (("out", self.out, "vectors"), ("ids", self.ids, "out")):
            if value is not None:
                raise UserError(f"--{name} needs --{needs}")
        texts = read_texts(self.texts)[: self.limit]
        if self.vectors:
            vectors, inverter, references = read_vectors(self.vectors, self.limit), self.load(), []
        else:
            inverter = self.load()
            references = references_of(inverter, texts)
            vectors = inverter.embedder.encode(references)
        inverter.check(vectors)
        if self.json or not sys.stdout.isatty():
            self._to_lines(inverter, vectors, texts)
        else:
            self._to_terminal(inverter, vectors, references)

    def _to_lines(self, inverter: Inverter, vectors: np.ndarray, texts: list[str]) -> None:
        from nanov2t.cli.report import as_json, in_order

        for i, found in in_order(inverter.stream(vectors, self.rounds, self.beam)):
            line = {"text": texts[i] if texts else None} | as_json(found)
            print(json.dumps(line, ensure_ascii=False), flush=True)

    def _to_terminal(self, inverter: Inverter, vectors: np.ndarray, references: list[str]) -> None:
        from rich.console import Console

        from nanov2t.cli.report import show_inversion

        for i, vector in enumerate(vectors):
            reference = references[i] if references else None
            show_inversion(inverter, vector, reference, self.rounds, self.beam, Console())

    def _to_folder(self, vectors: str, out: Path) -> None:
        from nanov2t.bulk.run import invert_source, local_device
        from nanov2t.stores.registry import open_source

        source = open_source(vectors, self.ids)
        inverter = self.load(local_device())
        invert_source(inverter, source, out, self.rounds, self.beam, self.limit)


@dataclass(kw_only=True)
class Evaluate(SearchArguments):
    """Figures of an inverter on texts: BLEU, token F1, exact match and cosine after every round."""

    texts: Path
    """Texts to embed and invert: a .txt (one a line), .jsonl or .parquet file, also .gz or .xz."""
    limit: int | None = None
    """Only the first so many texts."""
    drafts: Path | None = None
    """Start from these drafts: JSON lines with `idx`, the text's place from 0, and `draft`."""
    json: bool = False
    """Print one JSON object."""

    def run(self) -> None:
        from rich.console import Console

        from nanov2t.cli.report import figures
        from nanov2t.core.passages import read_passages
        from nanov2t.evaluation.evaluate import evaluate

        self.check(rounds=0, beam=1, limit=1)
        if not self.texts.is_file():
            raise UserError(f"{self.texts}: no such file")
        texts = list(islice(read_passages(str(self.texts)), self.limit))
        drafts = read_drafts(self.drafts, len(texts)) if self.drafts else None
        inverter = self.load()
        references = references_of(inverter, texts)
        with Console(stderr=True).status(f"inverting {len(texts)} texts"):
            result = evaluate(
                inverter,
                references,
                inverter.embedder.encode(references),
                self.rounds,
                self.beam,
                drafts,
            )
        if self.json:
            print(json.dumps(result))
        else:
            Console().print(figures(result))


@dataclass
class Train:
    """Train an inverter by a recipe, or resume the run. Any setting may follow: --optim.lr 1e-3."""

    config: Positional[Path]
    """A recipe such as configs/toy.yaml."""


@dataclass
class Export:
    """Write a checkpoint small enough to ship: int8 weights, a quarter of the size."""

    run_dir: Positional[Path]
    """A training run's folder, or a generator's."""
    out_dir: Positional[Path]
    """Where the exported generator goes."""

    def run(self) -> None:
        from nanov2t.models.checkpoint import load_tokenizer
        from nanov2t.models.generator import Generator

        folder = self.run_dir / "model" if (self.run_dir / "model").is_dir() else self.run_dir
        generator = Generator.from_pretrained(folder)
        generator.save_pretrained(self.out_dir, load_tokenizer(folder), int8=True)
        size = sum(path.stat().st_size for path in self.out_dir.iterdir())
        print(f"{self.out_dir}: {size / 2**20:.1f} MiB", file=sys.stderr)


@dataclass
class Convert:
    """Write an inverter, whatever its format, in our own: a pair as OUT/hypothesizer and
    OUT/corrector."""

    name: Positional[str]
    """A release's name, a folder, or a model on the Hub."""
    out: Positional[Path]
    """Where the converted inverter goes."""
    hypothesizer: str | None = None
    """Another such name, whose generator is to write the first hypotheses."""

    def run(self) -> None:
        from nanov2t.load import convert

        convert(self.name, self.out, self.hypothesizer)


def train(args: list[str]) -> None:
    """`nanov2t train CONFIG.yaml [--any.field value]`: the YAML is the default, flags override."""
    given = bool(args) and not args[0].startswith("-")
    default = load_config(Path(args[0])) if given else TrainConfig()
    if not given and not {"-h", "--help"} & set(args):
        raise UserError("train: give a recipe, such as configs/toy.yaml")
    config = _parse(TrainConfig, args[given:], default=default, prog="nanov2t train CONFIG.yaml")
    from nanov2t.train.inversion import train

    _quiet()
    print(train(config))


Command = (
    Annotated[Invert, subcommand("invert")]
    | Annotated[Evaluate, subcommand("evaluate")]
    | Annotated[Train, subcommand("train")]
    | Annotated[Export, subcommand("export")]
    | Annotated[Convert, subcommand("convert")]
)


def main() -> None:
    """The command line's entry: what the user can mend is one line on stderr and exit code 2."""
    try:
        if sys.argv[1:2] == ["train"]:
            train(sys.argv[2:])
        else:
            description = "Turns sentence embeddings back into text."
            _parse(Command, sys.argv[1:], prog="nanov2t", description=description).run()
    except UserError as error:
        print(f"nanov2t: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader of the pipe has seen enough
        sys.stderr.close()


def _parse(form: Any, args: list[str], **settings: Any) -> Any:
    """tyro, of whose boxed complaints only the first line below the title is kept."""
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            return tyro.cli(form, args=args, **settings)
    except SystemExit as stop:
        if not stop.code:
            raise
        lines = [line.strip("╭╮╰╯│─|+- ") for line in said.getvalue().splitlines()]
        raise UserError([line for line in lines if line][1]) from None


def _quiet() -> None:
    """Let the libraries say only what a user must know."""
    from huggingface_hub.utils import logging as hub_logging
    from transformers.utils import logging

    hub_logging.set_verbosity_error()  # whoever works offline knows it
    logging.disable_progress_bar()
