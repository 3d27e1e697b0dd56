"""The command line's grammar: what the help shows for a value, and one line for what will not do.
tyro parses; its rules for values are replaced, and what it says of errors is put on one line."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import redirect_stderr
from dataclasses import fields, is_dataclass
from itertools import dropwhile, takewhile
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from nanov2t.core.errors import UserError, did_you_mean

SHOWN = 60
"""Characters of a wrong value that an error repeats."""
RULE = re.compile(r" *[-─]+")
"""A line between the parts of tyro's boxes."""


def parse(form: Any, args: Sequence[str], prog: str, **settings: Any) -> Any:
    """What the arguments of a command say.

    Args:
        form: a dataclass.
        settings: of tyro.cli.

    Raises:
        UserError: an option or a value is wrong or missing.
    """
    command = prog.split()[1]
    _refuse_unknown(command, args, set(_options(settings.get("default", form))))
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            parsed, surplus = tyro.cli(
                form, args=args, prog=prog, registry=RULES, return_unknown_args=True, **settings
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        raise UserError(f"{command}: {_complaint(said.getvalue())}") from None
    if surplus:
        raise UserError(f"{command}: unexpected argument {_shown(surplus[0])}")
    return parsed


def _options(form: Any, prefix: str = "") -> Iterator[str]:
    """The options of a dataclass or of an instance, those of nested ones behind a dot."""
    for field in fields(form):
        name = field.name.replace("_", "-")
        if is_dataclass(nested := getattr(form, field.name, None)):
            yield from _options(nested, f"{prefix}{name}.")
        else:
            yield from (f"--{prefix}{name}", f"--{prefix}no-{name}")


def _refuse_unknown(command: str, args: Sequence[str], known: set[str]) -> None:
    """Name the first option that is not known: tyro would rather complain of what is missing."""
    for arg in args:
        if arg == "--":
            return
        name = arg.partition("=")[0].replace("_", "-")
        if name.startswith("--") and name not in {*known, "--help"}:
            near = [option for option in known if option.startswith(name)] or known
            raise UserError(f"{command}: no option {_shown(name)}{did_you_mean(name, near)}")


def _complaint(box: str) -> str:
    """What tyro complains of in a box, without its title and the help below the first rule."""
    lines = [line.strip("│╭╮╰╯").rstrip() for line in box.splitlines()]
    below = dropwhile(RULE.fullmatch, lines[1:])  # some titles have a rule below
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
    """A value for a message."""
    plain = value.isprintable() and 0 < len(value) <= SHOWN
    return value if plain else repr(value[:SHOWN])


def _whole_number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{_shown(text)} is not a whole number") from None


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{_shown(text)} is not a number")
    return value


def _path(text: str) -> Path:
    if not text:
        raise ValueError("is empty")
    return Path(text)


def _choice(choices: Iterable[str]) -> Callable[[str], str]:
    def choose(text: str) -> str:
        if text not in choices:
            known = ", ".join(choice or "''" for choice in choices)
            hint = did_you_mean(text, choices)
            raise ValueError(f"{_shown(text)} is not one of {known}{hint}")
        return text

    return choose


READERS: dict[Any, tuple[str, Callable[[str], Any]]] = {
    int: ("N", _whole_number),
    float: ("X", _number),
    str: ("TEXT", str),
    Path: ("PATH", _path),
}
"""For each type what the help shows in place of a value, and how a value is read."""
RULES = ConstructorRegistry()


@RULES.primitive_rule
def _rule(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """Numbers, texts, paths and choices; tuples of them; and each where there may be none."""
    kind: Any = info.type
    several = get_origin(kind) is tuple
    inner = [part for part in get_args(kind) if part not in (NoneType, ...)]
    if several or NoneType in get_args(kind):
        [kind] = inner
    if get_origin(kind) is Literal:
        choices = get_args(kind)
        metavar, read = f"{{{','.join(filter(None, choices))}}}", _choice(choices)
    elif kind in READERS:
        metavar, read = READERS[kind]
    else:
        return None

    def show(value: Any) -> list[str]:
        if value is None or value == ():
            return ["none"]
        return [str(one) for one in (value if several else [value])]

    return PrimitiveConstructorSpec(
        nargs="*" if several else 1,
        metavar=f"{metavar} ..." if several else metavar,
        instance_from_str=lambda args: tuple(map(read, args)) if several else read(args[0]),
        is_instance=lambda value: True,
        str_from_instance=show,
    )
