"""The commands. Free of torch, so that help is instant: each command imports what it needs."""

from __future__ import annotations

import io
import sys
from contextlib import redirect_stderr
from pathlib import Path
from typing import Annotated, Any

import tyro
from tyro.conf import subcommand

from nanov2t.cli.auditing import Audit
from nanov2t.cli.evaluating import Evaluate
from nanov2t.cli.guessing import Words
from nanov2t.cli.interpolating import Interpolate
from nanov2t.cli.making import Convert, Draft, Export, Study, Train
from nanov2t.cli.pushing import Push
from nanov2t.cli.quiet import quiet
from nanov2t.cli.searching import Invert
from nanov2t.cli.serving import Ui
from nanov2t.core.errors import UserError
from nanov2t.train.config import TrainConfig
from nanov2t.train.recipes import load_config
from nanov2t.train.recipes import train as train_by


def train(args: list[str]) -> None:
    """`nanov2t train CONFIG.yaml [--any.field value]`: the YAML is the default, flags override."""
    given = bool(args) and not args[0].startswith("-")
    default = load_config(Path(args[0])) if given else TrainConfig()
    if not given and not {"-h", "--help"} & set(args):
        raise UserError("train: give a recipe, such as configs/toy.yaml")
    config = _parse(type(default), args[given:], default=default, prog="nanov2t train CONFIG.yaml")
    quiet()
    from nanov2t.evaluation.shared import is_first

    folder = train_by(config)
    if is_first():
        print(folder)


Command = (
    Annotated[Invert, subcommand("invert")]
    | Annotated[Interpolate, subcommand("interpolate")]
    | Annotated[Words, subcommand("words")]
    | Annotated[Evaluate, subcommand("evaluate")]
    | Annotated[Audit, subcommand("audit")]
    | Annotated[Study, subcommand("study")]
    | Annotated[Train, subcommand("train")]
    | Annotated[Draft, subcommand("draft")]
    | Annotated[Export, subcommand("export")]
    | Annotated[Convert, subcommand("convert")]
    | Annotated[Push, subcommand("push")]
    | Annotated[Ui, subcommand("ui")]
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
