"""What libraries say while a command runs."""

from __future__ import annotations


def quiet() -> None:
    """Let the libraries say only what a user must know."""
    import datasets
    from huggingface_hub.utils import logging as hub_logging
    from transformers.utils import logging

    hub_logging.set_verbosity_error()  # whoever works offline knows it
    logging.disable_progress_bar()
    datasets.disable_progress_bars()
