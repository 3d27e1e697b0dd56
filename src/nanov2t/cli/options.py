"""Parse a command's options with tyro, with our own rules for values and one-line errors."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import redirect_stderr
from dataclasses import fields, is_dataclass
from functools import partial
from itertools import dropwhile, takewhile
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from nanov2t.core.errors import UserError, did_you_mean

SHOWN = 60
"""Most characters of a wrong value that an error repeats."""
RULE = re.compile(r" *[-─]+")
"""A line between the parts of tyro's boxes on stderr."""


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


def _read(kind: Callable[[str], Any], text: str) -> Any:
    """The value of an option, or a ValueError that says what is wrong."""
    try:
        value = kind(text)
    except ValueError:
        value = math.nan
    if kind in (int, float) and not abs(value) < math.inf:
        raise ValueError(f"{_shown(text)} is not a {'whole ' * (kind is int)}number")
    if kind is Path and not text:
        raise ValueError("is empty")
    return value


def _choice(choices: Iterable[str], text: str) -> str:
    if text not in choices:
        known = ", ".join(choice or "''" for choice in choices)
        raise ValueError(f"{_shown(text)} is not one of {known}{did_you_mean(text, choices)}")
    return text


METAVARS: dict[Any, str] = {int: "N", float: "X", str: "TEXT", Path: "PATH"}
"""What the help shows for a value of a type."""
RULES = ConstructorRegistry()


@RULES.primitive_rule
def _rule(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """The rule for numbers, texts, paths and choices, for tuples of them, and for optional ones."""
    kind: Any = info.type
    several = get_origin(kind) is tuple
    inner = [part for part in get_args(kind) if part not in (NoneType, ...)]
    if several or NoneType in get_args(kind):
        [kind] = inner
    read: Callable[[str], Any]
    if get_origin(kind) is Literal:
        choices = get_args(kind)
        metavar, read = f"{{{','.join(filter(None, choices))}}}", partial(_choice, choices)
    elif kind in METAVARS:
        metavar, read = METAVARS[kind], partial(_read, kind)
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
