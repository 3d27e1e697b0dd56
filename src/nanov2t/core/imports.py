"""Code that is imported by name: the user's own functions, and optional packages."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nanov2t.core.errors import UserError, first_line


def import_client(module: str, extra: str) -> Any:
    """Import a package that one of our extras installs. A UserError says how to install it."""
    try:
        return importlib.import_module(module)
    except ImportError:
        install = f"pip install '.[{extra}]' in a clone of nanov2t"
        raise UserError(f"{module} is not installed: {install}") from None


def load_function(spec: str, what: str) -> Callable[..., Any]:
    """Import `module:function`, also from the current folder. Errors call it `what`."""
    module, _, name = spec.partition(":")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)  # last, so that nothing there hides a library
    try:
        function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    except Exception as error:  # the user's module may raise anything
        raise UserError(f"{what} {spec}: {first_line(error)}") from None
    if not callable(function):
        raise UserError(f"{what} {spec}: is not a function")
    return function
