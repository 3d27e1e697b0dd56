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
    """Parse the arguments of a command into the dataclass `form`; `settings` go to tyro.cli.

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
    """The options of a dataclass. Those of a nested one have its name and a dot in front."""
    for field in fields(form):
        name = field.name.replace("_", "-")
        if is_dataclass(nested := getattr(form, field.name, None)):
            yield from _options(nested, f"{prefix}{name}.")
        else:
            yield from (f"--{prefix}{name}", f"--{prefix}no-{name}")


def _refuse_unknown(command: str, args: Sequence[str], known: set[str]) -> None:
    """Name the first unknown option. tyro would name a missing one first."""
    for arg in args:
        if arg == "--":
            return
        name = arg.partition("=")[0].replace("_", "-")
        if name.startswith("--") and name not in {*known, "--help"}:
            near = [option for option in known if option.startswith(name)] or known
            raise UserError(f"{command}: no option {_shown(name)}{did_you_mean(name, near)}")


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


def _choice(choices: Iterable[str], text: str) -> str:
    if text not in choices:
        known = ", ".join(choice or "''" for choice in choices)
        hint = did_you_mean(text, choices)
        raise ValueError(f"{_shown(text)} is not one of {known}{hint}")
    return text


READERS: dict[Any, tuple[str, Callable[[str], Any]]] = {
    int: ("N", _whole_number),
    float: ("X", _number),
    str: ("TEXT", str),
    Path: ("PATH", _path),
}
"""For each type: what the help shows for a value, and how to read one."""
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
