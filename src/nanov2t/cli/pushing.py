"""The command that uploads. Free of torch, so that help is instant."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from nanov2t.cli.checks import check_embedder, check_inverter
from nanov2t.cli.quiet import loading
from nanov2t.core.errors import UserError


@dataclass
class Push:
    """Upload an inverter to the Hub, with a model card. `invert --inverter OWNER/NAME` and
    `load_inverter` then read it from there.

    Log in first, with `hf auth login` or HF_TOKEN.
    """

    run_dir: Positional[Annotated[Path, arg(metavar="RUN_DIR")]]
    """A training run's folder, or any other inverter's. A README.md in it becomes the card."""
    name: Positional[Annotated[str, arg(metavar="OWNER/NAME")]]
    """The repository, OWNER/NAME."""
    embedder: Annotated[str | None, arg(metavar="NAME")] = None
    """What makes the vectors, if the inverter does not say."""
    private: bool = True
    """Make a new repository private."""

    def run(self) -> None:
        if not self.run_dir.is_dir():
            raise UserError(f"{self.run_dir}: no such folder")
        check_inverter(str(self.run_dir))
        check_embedder(self.embedder)
        if not re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", self.name):
            raise UserError(f"{self.name}: a repository's name is OWNER/NAME")
        from huggingface_hub import constants, get_token

        if constants.HF_HUB_OFFLINE:
            raise UserError(f"{self.name}: not uploaded: HF_HUB_OFFLINE is set")
        if get_token() is None:
            raise UserError(f"{self.name}: not uploaded: log in first, with: hf auth login")
        with loading(str(self.run_dir)):
            from nanov2t.load import load_inverter
            from nanov2t.models.push import push

            # Loading it first proves that it can be read back.
            inverter = load_inverter(self.run_dir, embedder=self.embedder, device="cpu")
        info = inverter.embedder.info
        print(push(self.run_dir, self.name, info, inverter.max_tokens, self.private))
