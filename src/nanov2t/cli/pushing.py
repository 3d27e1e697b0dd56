"""The command that uploads. Free of torch, so that help is instant."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from nanov2t.cli.quiet import quiet
from nanov2t.core.errors import UserError


@dataclass
class Push:
    """Upload an inverter to the Hub, with a model card. `invert --inverter OWNER/NAME` and
    `load_inverter` then read it from there.

    Who you are, the Hub's client knows: `hf auth login`, or HF_TOKEN.
    """

    run_dir: Positional[Path]
    """A training run's folder, or any other inverter's. A README.md in it is its card."""
    name: Positional[str]
    """Of the repository: OWNER/NAME."""
    embedder: str | None = None
    """What makes the vectors, where the inverter does not say."""
    private: bool = True
    """Whether a repository that is made is seen by its owner alone."""

    def run(self) -> None:
        from nanov2t.load import load_inverter
        from nanov2t.models.push import push

        if not self.run_dir.is_dir():
            raise UserError(f"{self.run_dir}: no such folder")
        quiet()
        # What cannot be read back is not uploaded.
        inverter = load_inverter(self.run_dir, embedder=self.embedder, device="cpu")
        info = inverter.embedder.info
        print(push(self.run_dir, self.name, info, inverter.max_tokens, self.private))
