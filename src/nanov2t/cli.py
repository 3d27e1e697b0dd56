"""The commands. Free of torch, so that help is instant: each command imports what it needs."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from tyro.conf import Positional, subcommand

from nanov2t.config import BEAM, ROUNDS, TrainConfig, UserError, load_config

if TYPE_CHECKING:
    import numpy as np

    from nanov2t.inverter import Inversion, Inverter


@dataclass
class Invert:
    """Turn vectors back into text.

    A TEXT is embedded, and then only its vector is used. On a terminal the rounds are shown as they go; with --json, or
    in a pipe, every vector gives one JSON object on a line. With --out, whole vector stores are inverted into Parquet
    files; the same command resumes.
    """

    texts: Positional[tuple[str, ...]] = ()
    """Texts to embed and invert; `-` reads lines from standard input."""
    vectors: str | None = None
    """Vectors to invert: a .npy, .npz, .parquet, .jsonl or .safetensors file, its column or key after a #; a .faiss
    file; chroma:PATH#COLLECTION; lancedb:PATH#TABLE; or postgresql://...#TABLE.COLUMN."""
    out: Path | None = None
    """Folder for the results, as Parquet; for vectors by the million."""
    ids: str | None = None
    """Column of the ids; by default the store's own ids, or the numbers of the rows. Needs --out."""
    limit: int | None = None
    """Only the first so many vectors."""
    inverter: str = "minilm-wiki32"
    """A bundled inverter's name, or a folder."""
    rounds: int = ROUNDS
    """Corrections at most."""
    beam: int = BEAM
    """Hypotheses kept, and written from each."""
    json: bool = False
    """Print JSON lines, also on a terminal."""

    def run(self) -> None:
        if bool(self.texts) == (self.vectors is not None):
            raise UserError("give either texts or --vectors FILE")
        _at_least(self, rounds=0, beam=1, limit=1)
        if self.vectors and self.out:
            self._to_folder(self.vectors, self.out)
            return
        for name, value, needs in (("out", self.out, "vectors"), ("ids", self.ids, "out")):
            if value is not None:
                raise UserError(f"--{name} needs --{needs}")
        texts = list(_texts(self.texts))[: self.limit]
        if self.vectors:
            vectors, inverter, references = _read_vectors(self.vectors, self.limit), _load(self.inverter), []
        else:
            inverter = _load(self.inverter)
            references = _references(inverter, texts)
            vectors = inverter.embedder.encode(references)
        inverter.check(vectors)
        if self.json or not sys.stdout.isatty():
            for i, found in _in_order(inverter.stream(vectors, self.rounds, self.beam)):
                line = {"text": texts[i] if texts else None} | _as_json(found)
                print(json.dumps(line, ensure_ascii=False), flush=True)
            return
        from rich.console import Console

        from nanov2t.report import show_inversion

        for i, vector in enumerate(vectors):
            show_inversion(inverter, vector, references[i] if references else None, self.rounds, self.beam, Console())

    def _to_folder(self, vectors: str, out: Path) -> None:
        from nanov2t.bulk import invert_source, local_device
        from nanov2t.sources import open_source

        source = open_source(vectors, self.ids)
        inverter = _load(self.inverter, local_device())
        invert_source(inverter, source, out, self.rounds, self.beam, self.limit)


@dataclass
class Evaluate:
    """Figures of an inverter on texts: BLEU, token F1, exact match and cosine after every round."""

    texts: Path
    """Texts to embed and invert: a .txt (one a line), .jsonl or .parquet file, also .gz or .xz."""
    inverter: str = "minilm-wiki32"
    """A bundled inverter's name, or a folder."""
    rounds: int = ROUNDS
    """Corrections at most."""
    beam: int = BEAM
    """Hypotheses kept, and written from each."""
    limit: int | None = None
    """Only the first so many texts."""
    drafts: Path | None = None
    """Start from these drafts: JSON lines with `idx`, the text's place from 0, and `draft`."""
    json: bool = False
    """Print one JSON object."""

    def run(self) -> None:
        from itertools import islice

        from rich.console import Console

        from nanov2t.data import read_passages
        from nanov2t.evaluate import evaluate
        from nanov2t.report import figures

        _at_least(self, rounds=0, beam=1, limit=1)
        if not self.texts.is_file():
            raise UserError(f"{self.texts}: no such file")
        texts = list(islice(read_passages(str(self.texts)), self.limit))
        drafts = _read_drafts(self.drafts, len(texts)) if self.drafts else None
        inverter = _load(self.inverter)
        references = _references(inverter, texts)
        console = Console(stderr=True)
        with console.status(f"inverting {len(texts)} texts"):
            result = evaluate(
                inverter, references, inverter.embedder.encode(references), self.rounds, self.beam, drafts)
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
        from nanov2t.checkpoint import load_generator, load_tokenizer, save_generator

        folder = self.run_dir / "model" if (self.run_dir / "model").is_dir() else self.run_dir
        save_generator(load_generator(folder), self.out_dir, load_tokenizer(folder), int8=True)
        size = sum(path.stat().st_size for path in self.out_dir.iterdir())
        print(f"{self.out_dir}: {size / 2**20:.1f} MiB", file=sys.stderr)


def train(args: list[str]) -> None:
    """`nanov2t train CONFIG.yaml [--any.field value]`: the YAML is the default, flags override."""
    given = bool(args) and not args[0].startswith("-")
    default = load_config(Path(args[0])) if given else TrainConfig()
    if not given and not {"-h", "--help"} & set(args):
        raise UserError("train: give a recipe, such as configs/toy.yaml")
    config = _parse(TrainConfig, args[given:], default=default, prog="nanov2t train CONFIG.yaml")
    from nanov2t.train import train

    print(train(config))


Command = (
    Annotated[Invert, subcommand("invert")]
    | Annotated[Evaluate, subcommand("evaluate")]
    | Annotated[Train, subcommand("train")]
    | Annotated[Export, subcommand("export")]
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


def _parse(form, args: list[str], **settings):
    """tyro, its boxed complaints cut to their first line."""
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            return tyro.cli(form, args=args, **settings)
    except SystemExit as stop:
        if not stop.code:
            raise
        lines = [line.strip("│ ") for line in said.getvalue().splitlines() if line.startswith("│")]
        raise UserError(lines[0] if lines else said.getvalue().strip()) from None


def _load(name: str, device: str | None = None) -> Inverter:
    from transformers.utils import logging

    from nanov2t.load import load_inverter

    logging.disable_progress_bar()
    return load_inverter(name, device=device)


def _at_least(options, **least: int) -> None:
    for name, low in least.items():
        value = getattr(options, name)
        if value is not None and value < low:
            raise UserError(f"--{name} must be at least {low}, not {value}")


def _texts(given: tuple[str, ...]) -> Iterator[str]:
    for text in given:
        yield from (line.rstrip("\n") for line in sys.stdin) if text == "-" else [text]


def _references(inverter: Inverter, texts: list[str]) -> list[str]:
    """The texts as the inverter can write them; says which it had to cut."""
    from nanov2t.data import reference

    references = []
    for i, text in enumerate(texts, 1):
        if not text.strip():
            raise UserError(f"text {i} is empty")
        length = len(inverter.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
        if length > inverter.max_tokens:
            print(f"nanov2t: text {i} has {length} tokens; only the first {inverter.max_tokens} are inverted",
                  file=sys.stderr)
        references.append(reference(text, inverter.tokenizer, inverter.embedder, inverter.max_tokens))
        if not references[-1]:
            raise UserError(f"text {i} holds nothing that the inverter's tokenizer knows")
    return references


def _read_vectors(spec: str, limit: int | None) -> np.ndarray:
    from nanov2t.sources import open_source

    source = open_source(spec)
    rows = source.read(0, min(source.count, limit or source.count))
    for i, reason in sorted(rows.errors.items())[:1]:
        raise UserError(f"{source.name}: vector {i} is {reason}")
    return rows.vectors


def _read_drafts(path: Path, count: int) -> list[str]:
    drafts: dict[int, str] = {}
    number = 0
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            number += 1
            row = json.loads(line)
            drafts[int(row["idx"])] = str(row["draft"])
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}, line {number}: not a JSON object with idx and draft ({error})") from None
    if missing := [i for i in range(count) if i not in drafts]:
        raise UserError(f"{path}: no draft for idx {missing[0]}")
    return [drafts[i] for i in range(count)]


def _in_order(found: Iterator[tuple[int, Inversion]]) -> Iterator[tuple[int, Inversion]]:
    waiting: dict[int, Inversion] = {}
    following = 0
    for i, inversion in found:
        waiting[i] = inversion
        while following in waiting:
            yield following, waiting.pop(following)
            following += 1


def _as_json(found: Inversion) -> dict:
    return {
        "inverted": found.text, "cosine": found.cosine, "stopped": found.stopped,
        "embedder_calls": found.embedder_calls,
        "rounds": [{"round": r.round, "text": r.text, "cosine": r.cosine} for r in found.rounds],
    }


