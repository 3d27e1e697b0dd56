"""Errors that a user can fix."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """An error the user can fix. The command line prints it as one line and exits with 2."""


def one_line(error: BaseException) -> str:
    """The whole message of an exception on one line."""
    return first_line(error) if isinstance(error, OSError) else " ".join(str(error).split())


def first_line(error: BaseException) -> str:
    """The first line of an exception's message, or its type if it has none. Of an OSError it is
    the reason, without number and file."""
    said = (isinstance(error, OSError) and error.strerror) or str(error)
    lines = [" ".join(line.split()) for line in said.splitlines()]
    return next(filter(None, lines), type(error).__name__)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean optim?` to end an error with, or nothing if no known word is close."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""
