"""The commands that make inverters and upload them. Free of torch, so that help is instant."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from nanov2t.cli.inputs import check, check_inverter, check_new, loading
from nanov2t.core.errors import UserError
from nanov2t.pretrained import PAIRS


@dataclass
class Align:
    """Tie an embedder's vectors to the bundled inverter, which then reads them.

    `--embedder` does this at the first use of an embedder. Texts like yours align better.
    """

    embedder: Positional[Annotated[str, arg(metavar="EMBEDDER")]]
    """Name or folder of a Sentence Transformers model, openai:MODEL[@URL], or module:function."""
    texts: Annotated[str | None, arg(metavar="FILE")] = None
    """Texts like those to be found: .txt (one a line), .jsonl or .parquet. Default: our own."""
    pairs: int = PAIRS
    """Pieces of them to embed."""
    out: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """Folder of an inverter, for --inverter; by default the cache folder, for --embedder."""

    def run(self) -> None:
        check(self, pairs=20)
        if self.out is not None:
            check_new(self.out)
        with loading(self.embedder):
            from nanov2t.align.making import kept_at, make_alignment
            from nanov2t.embedders.registry import load_embedder

            judge, reader = load_embedder(self.embedder), load_embedder("minilm")
        made = make_alignment(judge, reader, self.texts, self.pairs)
        made.save(folder := self.out or kept_at(judge, reader))
        cosine = f"mapped vectors have a cosine of {made.agreement:.2f} with the true ones"
        print(f"{folder}: {made.pairs:,} texts; {cosine}")


@dataclass
class Study:
    """Learn the average state of every word of an embedder, in minutes. OUT is an inverter that
    searches by this dictionary alone. Networks trained on it search better."""

    embedder: Positional[Annotated[str, arg(metavar="EMBEDDER")]]
    """`minilm`, or the name or folder of a Sentence Transformers model that pools by the mean."""
    texts: Annotated[str, arg(metavar="FILE")]
    """Text to learn from: .txt (a passage a line), .jsonl or .parquet, or a data set's name."""
    out: Annotated[Path, arg(metavar="FOLDER")]
    """Folder of the inverter."""
    crops: int = 20_000
    """Pieces of text to read."""
    cache: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """Folder for cached token ids; by default ~/.cache/nanov2t."""

    def run(self) -> None:
        check(self, self.out / "dictionary", self.cache, crops=1)
        with loading(self.embedder):
            from nanov2t.embedders.registry import load_embedder
            from nanov2t.train.network import study_embedder

            embedder = load_embedder(self.embedder)
        found = study_embedder(embedder, self.texts, self.crops, self.cache)
        found.dictionary.save(self.out / "dictionary")
        left, offset = f"{100 * found.left:.0f} %", f"{100 * found.left_with_offset:.0f} %"
        left = f"their averages leave {left} of the states' variance, with each text's offset"
        words = f"{len(found.dictionary.words):,} words"
        print(f"{self.out}: {words}; {left} {offset}", file=sys.stderr)


@dataclass
class Train:
    """Train an inverter by a recipe, or resume the run. Any setting may follow: --optim.lr 1e-3."""

    config: Positional[Annotated[Path, arg(metavar="CONFIG.yaml")]]
    """A recipe such as configs/toy.yaml."""


@dataclass
class Draft:
    """Write an inverter's greedy first guesses of texts to SPLIT.hyps.jsonl, in nanoV2T's form: for
    stage 2 to learn from (drafts.files), or for `evaluate --drafts`. The same command resumes.
    `torchrun -m nanov2t draft ...` shares the texts out."""

    inverter: Positional[Annotated[str, arg(metavar="INVERTER")]]
    """A training run's folder, or any other inverter."""
    texts: Annotated[str, arg(metavar="FILE")]
    """The training text: a data set's name or folder, or a .txt, .jsonl or .parquet file."""
    split: Annotated[tuple[str, ...], arg(metavar="SPLIT ...")] = ("train", "dev", "test")
    """Splits of a data set. For a file, give one: the name that its drafts get."""
    column: Annotated[str, arg(metavar="COLUMN")] = ""
    """Column of the text, by default `text`. Several (`title,text`) are joined."""
    out: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """Folder of the drafts; by default `drafts` in the inverter's."""
    embedder: Annotated[str | None, arg(metavar="NAME")] = None
    """What makes the vectors, if the inverter does not say."""

    def run(self) -> None:
        check_inverter(self.inverter)
        out = self.out or Path(self.inverter) / "drafts"
        if self.out is None and not Path(self.inverter).is_dir():
            raise UserError(f"{self.inverter} is no folder: name one for the drafts with --out")
        if Path(self.texts).is_file() and len(self.split) != 1:
            raise UserError(f"{self.texts} is a file: name its drafts with --split, such as train")
        if not self.split:
            raise UserError("--split: give at least one")
        check(self, out)
        with loading(self.inverter):
            from nanov2t.evaluation.shared import is_first, local_device
            from nanov2t.load import load_inverter
            from nanov2t.t5.drafts import write_drafts

            inverter = load_inverter(self.inverter, embedder=self.embedder, device=local_device())
        for split in self.split:
            path = write_drafts(inverter, self.texts, split, out, self.column)
            if is_first():
                print(path)


@dataclass
class Export:
    """Write an inverter or a network in our own format with int8 weights, a quarter of the size. A
    pair becomes OUT_DIR/hypothesizer and OUT_DIR/corrector."""

    name: Positional[Annotated[str, arg(metavar="RUN_DIR")]]
    """The folder of a training run or a network; of T5s also a release or a model on the Hub."""
    out: Positional[Annotated[Path, arg(metavar="OUT_DIR")]]
    """Folder for the exported networks."""
    hypothesizer: Annotated[str | None, arg(metavar="NAME")] = None
    """Another such name, whose T5 is to write the first hypotheses."""
    int8: bool = True
    """Round the weights to 8 bits. `--no-int8` converts a published checkpoint as it is."""

    def run(self) -> None:
        for name in filter(None, (self.name, self.hypothesizer)):
            if check_inverter(name).looks_inside:
                raise UserError(f"inverter {name}: export its networks' folders one by one")
        check_new(self.out)
        with loading(self.name):
            from nanov2t.models.hub import locate, network_folder
            from nanov2t.models.networks import kind_of, read_network, save_network
            from nanov2t.t5.inference import export_pair

            folder = network_folder(locate(self.name))
            if kind_of(folder):
                save_network(read_network(folder), self.out, self.int8)
            else:
                export_pair(self.name, self.out, self.hypothesizer, self.int8)
        size = sum(path.stat().st_size for path in self.out.rglob("*") if path.is_file())
        print(f"{self.out}: {size / 2**20:.1f} MiB", file=sys.stderr)


@dataclass
class Push:
    """Upload an inverter to the Hub, with a model card. `invert --inverter OWNER/NAME` and
    `load_inverter` then read it there. Log in first, with `hf auth login` or HF_TOKEN."""

    run_dir: Positional[Annotated[Path, arg(metavar="RUN_DIR")]]
    """A training run's folder, or any other inverter's. A README.md in it becomes the card."""
    name: Positional[Annotated[str, arg(metavar="OWNER/NAME")]]
    """The repository, OWNER/NAME."""
    embedder: Annotated[str | None, arg(metavar="NAME")] = None
    """What makes the vectors, if the inverter does not say."""
    private: bool = True
    """Make a new repository private."""

    def run(self) -> None:
        if not self.run_dir.is_dir():
            raise UserError(f"{self.run_dir}: no such folder")
        check_inverter(str(self.run_dir))
        check(self)
        if not re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", self.name):
            raise UserError(f"{self.name}: a repository's name is OWNER/NAME")
        from huggingface_hub import constants, get_token

        if constants.HF_HUB_OFFLINE or get_token() is None:
            hint = "log in first, with: hf auth login"
            why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else hint
            raise UserError(f"{self.name}: not uploaded: {why}")
        with loading(str(self.run_dir)):
            from nanov2t.load import load_inverter
            from nanov2t.models.hub import push

            # Loading it first proves that it can be read back.
            inverter = load_inverter(self.run_dir, embedder=self.embedder, device="cpu")
        info = inverter.embedder.info
        print(push(self.run_dir, self.name, info, inverter.max_tokens, self.private))
