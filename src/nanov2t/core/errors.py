"""Errors that a user can mend."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the user can mend; the command line prints it as one line and exits with 2."""


def one_line(error: BaseException) -> str:
    """What an exception says, on one line."""
    return first_line(error) if isinstance(error, OSError) else " ".join(str(error).split())


def first_line(error: BaseException) -> str:
    """The first line of what an exception says, as one clean line; its type's name where it says
    nothing. Of the system's errors the reason alone, without number and file."""
    said = (isinstance(error, OSError) and error.strerror) or str(error)
    lines = [" ".join(line.split()) for line in str(said).splitlines()]
    return next((line for line in lines if line), type(error).__name__)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of an error about an unknown word: `; did you mean optim?`, or nothing where no known
    word is close."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""
