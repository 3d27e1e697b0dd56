"""Keep the libraries quiet while a command runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext


def quiet() -> None:
    """Silence progress bars and warnings that the command reports itself."""
    # datasets is slow to import. If it is imported later, it reads these variables.
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("DATASETS_VERBOSITY", "critical")
    if datasets := sys.modules.get("datasets"):
        datasets.disable_progress_bars()
        datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    from huggingface_hub.utils import logging as hub_logging
    from transformers.utils import logging

    hub_logging.set_verbosity_error()
    logging.disable_progress_bar()


@contextmanager
def loading(what: str) -> Iterator[None]:
    """Show on a terminal what is loading until the block ends, and silence the libraries."""
    from rich.markup import escape

    from nanov2t.core.progress import terminal

    first = os.environ.get("RANK", "0") == "0"
    with terminal().status(f"Loading {escape(what)} ...") if first else nullcontext():
        quiet()
        yield
