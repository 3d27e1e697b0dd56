"""Functions of the user's own, by `module:function`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nanov2t.core.errors import UserError, first_line


def load_function(spec: str, what: str) -> Callable[..., Any]:
    """Import the function that `module:function` names, also from the current folder.

    Args:
        what: names it in errors, such as "defence".

    Raises:
        UserError: there is no such module or function, or importing it fails.
    """
    module, _, name = spec.partition(":")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)  # last, so that nothing there hides a library
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as error:
        # A module of the user's may raise anything.
        raise UserError(f"{what} {spec}: {first_line(error)}") from None
    if not callable(found):
        raise UserError(f"{what} {spec}: is no function")
    function: Callable[..., Any] = found
    return function
