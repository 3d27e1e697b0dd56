"""Errors that a user can fix."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """An error the user can fix. The command line prints it as one line and exits with 2."""


def one_line(error: BaseException) -> str:
    """The whole message of an exception on one line."""
    return first_line(error) if isinstance(error, OSError) else " ".join(str(error).split())


def first_line(error: BaseException) -> str:
    """The first line of an exception's message, or its type. For an OSError, its reason alone."""
    said = (isinstance(error, OSError) and error.strerror) or str(error)
    lines = [" ".join(line.split()) for line in said.splitlines()]
    return next(filter(None, lines), type(error).__name__)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of an error, such as `; did you mean optim?`; empty if no known word is close."""
    near = {name.lower(): name for name in reversed(list(known))}
    close = difflib.get_close_matches(word.lower(), near, n=1)
    return f"; did you mean {near[close[0]]}?" if close else ""
