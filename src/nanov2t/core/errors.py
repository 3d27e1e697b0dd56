"""Errors that a user can mend."""

from __future__ import annotations


class UserError(Exception):
    """Something the user can mend; the command line prints it as one line and exits with 2."""


def first_line(error: BaseException) -> str:
    """The first line of what an exception says, as one clean line; its type's name where it says
    nothing."""
    lines = [" ".join(line.split()) for line in str(error).splitlines()]
    return next((line for line in lines if line), type(error).__name__)
