"""The command that inverts what lies between two vectors. Free of torch, so that help is
instant."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from nanov2t.cli.inputs import read_texts, read_vectors, references_of
from nanov2t.cli.searching import SearchArguments
from nanov2t.core.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from nanov2t.inverter import Inverter


STEPS = 10_000
"""Points at most: all of them are held in memory."""


@dataclass
class Interpolate(SearchArguments):
    """Invert points on the line from one vector to another: those of two TEXTS, or the first two of
    --vectors. Where the embedder's vectors have unit length, so have the points."""

    texts: Positional[Annotated[tuple[str, ...], arg(metavar="[TEXT TEXT]")]] = ()
    """The two texts."""
    vectors: Annotated[str | None, arg(metavar="SOURCE")] = None
    """Two vectors in their place: a source as `invert` takes it."""
    steps: int = 9
    """Points, both ends among them."""
    json: bool = False
    """Print JSON lines, also on a terminal."""

    def run(self) -> None:
        import numpy as np

        self.check(steps=2)
        if self.steps > STEPS:
            raise UserError(f"--steps must be at most {STEPS}, not {self.steps}")
        if len(self.texts) != (0 if self.vectors is not None else 2):
            raise UserError("give either two texts or --vectors FILE")
        if self.vectors is not None:
            ends = read_vectors(self.vectors, 2)
            if len(ends) < 2:
                raise UserError(f"{self.vectors}: holds one vector; two are needed")
            self.look_up(self.vectors, ends.shape)
            inverter = self.load()
        else:
            texts = read_texts(self.texts)
            self.look_up()
            inverter = self.load()
            ends = inverter.embedder.encode(references_of(inverter, texts))
        inverter.check(ends)
        shares = np.linspace(0, 1, self.steps)
        points = np.outer(1 - shares, ends[0]) + np.outer(shares, ends[1])
        self._print(inverter, shares.tolist(), points.astype(np.float32))

    def _print(self, inverter: Inverter, shares: list[float], points: np.ndarray) -> None:
        """Print what is found at each share of the way, as soon as it is."""
        from rich.console import Console
        from rich.markup import escape

        from nanov2t.cli.report import as_json, in_order

        terminal = sys.stdout.isatty() and not self.json
        inverter.check(points)
        for i, found in in_order(inverter.stream(points, self.rounds, self.beam)):
            if terminal:
                share = f"[dim]{shares[i]:5.0%}  {found.cosine:.4f}[/dim]"
                Console(highlight=False).print(f"{share}  {escape(found.text)}")
            else:
                line = {"share": shares[i]} | as_json(found)
                print(json.dumps(line, ensure_ascii=False), flush=True)
