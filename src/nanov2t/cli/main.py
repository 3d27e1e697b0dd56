"""The command line: tyro parses the options, with our own rules for values and one-line errors.
Commands import torch only when they run, so that --help is instant."""

from __future__ import annotations

import io
import math
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr
from dataclasses import fields, is_dataclass
from functools import partial
from itertools import dropwhile, takewhile
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, NoReturn, Union, get_args, get_origin

import tyro
from tyro.conf import subcommand
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from nanov2t.cli.auditing import Audit, Check, Match
from nanov2t.cli.inputs import quiet
from nanov2t.cli.making import Align, Draft, Export, Push, Study, Train
from nanov2t.cli.searching import Evaluate, Invert
from nanov2t.cli.serving import Ui
from nanov2t.core.errors import UserError, did_you_mean
from nanov2t.recipes import check_recipe, load_config
from nanov2t.recipes import train as train_by
from nanov2t.train.config import T5Recipe

FORMS = (Invert, Evaluate, Audit, Match, Check, Align, Study, Train, Draft, Export, Push, Ui)
COMMANDS: dict[str, Any] = {form.__name__.lower(): form for form in FORMS}
SHOWN = 60
"""Most characters of a wrong value that an error repeats."""
RULE = re.compile(r" *[-─]+")
"""A line between the parts of tyro's boxes on stderr."""
METAVARS: dict[Any, str] = {int: "N", float: "X", str: "TEXT", Path: "PATH"}
"""What the help shows for a value of a type."""
RULES = ConstructorRegistry()


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


def parse(form: Any, args: Sequence[str], prog: str, **settings: Any) -> Any:
    """Parse the arguments of a command into the dataclass `form`; `settings` go to tyro.cli. A
    UserError says which option or value is wrong or missing."""
    command = prog.split()[1]
    known = {"--help", *_options(settings.get("default", form))}
    for arg in takewhile(lambda arg: arg != "--", args):
        name = arg.partition("=")[0].replace("_", "-")
        if name.startswith("--") and name not in known:  # tyro would name a missing one first
            near = [option for option in known if option.startswith(name)] or known
            raise UserError(f"{command}: no option {_shown(name)}{did_you_mean(name, near)}")
    said = io.StringIO()
    settings |= {"prog": prog, "registry": RULES, "return_unknown_args": True}
    try:
        with redirect_stderr(said):
            parsed, surplus = tyro.cli(form, args=args, **settings)
    except SystemExit as stop:
        if not stop.code:
            raise
        raise UserError(f"{command}: {_complaint(said.getvalue())}") from None
    if surplus:
        raise UserError(f"{command}: unexpected argument {_shown(surplus[0])}")
    return parsed


def _options(form: Any, prefix: str = "") -> Iterator[str]:
    """The options of a dataclass. Those of a nested one have its name and a dot in front."""
    for field in fields(form):
        name = field.name.replace("_", "-")
        if is_dataclass(nested := getattr(form, field.name, None)):
            yield from _options(nested, f"{prefix}{name}.")
        else:
            yield from (f"--{prefix}{name}", f"--{prefix}no-{name}")


def _complaint(box: str) -> str:
    """tyro's error message without its box, title and help."""
    lines = [line.strip("│╭╮╰╯").rstrip() for line in box.splitlines()]
    below = dropwhile(RULE.fullmatch, lines[1:])
    rows = list(takewhile(lambda line: not RULE.fullmatch(line), below))
    text = " ".join(" ".join(rows).split())
    if text.startswith("Missing from"):
        margin = len(rows[0]) - len(rows[0].lstrip()) + 4
        names = [row.strip() for row in rows if re.match(rf" {{{margin}}}\S", row)]
        return f"needs {' and '.join(names)}"
    if bare := re.match(r"Missing value for argument '(.+?)'", text):
        return f"{bare[1]} needs a value"
    return text.removeprefix("Error parsing ")


def _shown(value: str) -> str:
    plain = value.isprintable() and 0 < len(value) <= SHOWN
    return value if plain else repr(value[:SHOWN])


def _read(kind: Any, text: str) -> Any:
    """The value of an option, or a ValueError that says what is wrong."""
    if get_origin(kind) is Literal:
        if text not in (choices := get_args(kind)):
            known = ", ".join(choice or "''" for choice in choices)
            raise ValueError(f"{_shown(text)} is not one of {known}{did_you_mean(text, choices)}")
        return text
    try:
        value = kind(text)
    except ValueError:
        value = math.nan
    if kind in (int, float) and not abs(value) < math.inf:
        raise ValueError(f"{_shown(text)} is not a {'whole ' * (kind is int)}number")
    if kind is Path and not text:
        raise ValueError("is empty")
    return value


@RULES.primitive_rule
def _rule(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """The rule for numbers, texts, paths and choices, for tuples of them, and for optional ones."""
    kind: Any = info.type
    several = get_origin(kind) is tuple
    if several or NoneType in get_args(kind):
        [kind] = [part for part in get_args(kind) if part not in (NoneType, ...)]
    metavar = METAVARS.get(kind)
    if get_origin(kind) is Literal:
        metavar = f"{{{','.join(filter(None, get_args(kind)))}}}"
    if metavar is None:
        return None

    def show(value: Any) -> list[str]:
        if value is None or value == ():
            return ["none"]
        return [str(one) for one in (value if several else [value])]

    read = partial(_read, kind)
    return PrimitiveConstructorSpec(
        nargs="*" if several else 1,
        metavar=f"{metavar} ..." if several else metavar,
        instance_from_str=lambda args: tuple(map(read, args)) if several else read(args[0]),
        is_instance=lambda value: True,
        str_from_instance=show,
    )
