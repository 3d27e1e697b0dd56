"""The command line. Commands import torch only when they run, so that --help is instant."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn, Union

import tyro
from tyro.conf import subcommand

from nanov2t.cli.inputs import quiet
from nanov2t.cli.making import Align, Draft, Export, Push, Study, Train
from nanov2t.cli.measuring import Audit, Evaluate
from nanov2t.cli.options import RULES, parse
from nanov2t.cli.searching import Invert
from nanov2t.cli.serving import Ui
from nanov2t.core.errors import UserError, did_you_mean
from nanov2t.recipes import check_recipe, load_config
from nanov2t.recipes import train as train_by
from nanov2t.t5.config import T5Recipe

FORMS = (Invert, Evaluate, Audit, Align, Study, Train, Draft, Export, Push, Ui)
COMMANDS: dict[str, Any] = {form.__name__.lower(): form for form in FORMS}


def main() -> None:
    """Run the command line. A UserError becomes one line on stderr and exit code 2."""
    try:
        run(sys.argv[1:])
    except UserError as error:
        refuse(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # for example: nanov2t invert ... | head
        sys.stderr.close()
    except OSError as error:
        if error.filename is None:
            raise
        refuse(f"{error.filename}: {error.strerror}")


def refuse(message: str) -> NoReturn:
    print("nanov2t:", " ".join(message.split()), file=sys.stderr)
    sys.exit(2)


def run(args: list[str]) -> None:
    """Run the command that the arguments name, or print the help of all."""
    name, rest = (args[0], args[1:]) if args else ("", [])
    if name == "train":
        train(rest)
    elif name in COMMANDS:
        parse(COMMANDS[name], rest, f"nanov2t {name}").run()
    elif name == "--version":
        from nanov2t import __version__

        print(f"nanov2t {__version__}")
    elif name in ("-h", "--help") or name.startswith("--tyro-"):  # which completes in a shell
        forms = tuple(Annotated[form, subcommand(name)] for name, form in COMMANDS.items())
        commands: Any = Union[forms]  # noqa: UP007
        said = "Turns sentence embeddings back into text. --version prints the version."
        tyro.cli(commands, args=args, prog="nanov2t", description=said, registry=RULES)
    elif name:
        hint = did_you_mean(name, [*COMMANDS, "--help", "--version"])
        raise UserError(f"no command {name}{hint or '; nanov2t --help lists them'}")
    else:
        raise UserError(f"give a command, one of {', '.join(COMMANDS)}")


def train(args: list[str]) -> None:
    """`nanov2t train CONFIG.yaml [--any.field value]`: options override the YAML file."""
    given = bool(args) and not args[0].startswith("-")
    if not given and not {"-h", "--help"} & set(args):
        raise UserError("train: give a recipe first, such as: nanov2t train configs/toy.yaml")
    default = load_config(Path(args[0])) if given else T5Recipe()
    config = parse(type(default), args[given:], "nanov2t train CONFIG.yaml", default=default)
    check_recipe(config)
    quiet()
    from nanov2t.evaluation.shared import is_first

    folder = train_by(config)
    if is_first():
        print(folder)
