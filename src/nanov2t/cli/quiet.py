"""What libraries say while a command runs."""

from __future__ import annotations

import os
import sys


def quiet() -> None:
    """Let the libraries say only what a user must know."""
    # datasets takes most of a second to import, so that is left to the commands that use it; it
    # looks at this then.
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    if datasets := sys.modules.get("datasets"):
        datasets.disable_progress_bars()
    from huggingface_hub.utils import logging as hub_logging
    from transformers.utils import logging

    hub_logging.set_verbosity_error()  # whoever works offline knows it
    logging.disable_progress_bar()
