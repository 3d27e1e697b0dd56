"""What libraries say while a command runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext


def quiet() -> None:
    """Let the libraries say only what a user must know."""
    # datasets takes most of a second to import, so that is left to the commands that use it; it
    # looks at this then.
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("DATASETS_VERBOSITY", "critical")  # what it says, it raises as well
    if datasets := sys.modules.get("datasets"):
        datasets.disable_progress_bars()
        datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    from huggingface_hub.utils import logging as hub_logging
    from transformers.utils import logging

    hub_logging.set_verbosity_error()  # whoever works offline knows it
    logging.disable_progress_bar()


@contextmanager
def loading(what: str) -> Iterator[None]:
    """Say on a terminal what is being loaded, for as long as it takes, and quiet the libraries."""
    from rich.markup import escape

    from nanov2t.core.progress import terminal

    first = os.environ.get("RANK", "0") == "0"
    with terminal().status(f"Loading {escape(what)} ...") if first else nullcontext():
        quiet()
        yield
