"""Invert vectors for an audit, and keep what was found in files, so that an audit can resume."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from nanov2t.core.errors import UserError
from nanov2t.core.files import digest, write_whole
from nanov2t.core.progress import Tick
from nanov2t.evaluation.shared import of_first, share_out
from nanov2t.inverter import Inverter
from nanov2t.search.options import SearchOptions
from nanov2t.targets import Knowledge

PART = 8
"""Vectors in a file. Each part is a search of its own, so the result does not depend on the number
of processes, and a kill costs a process at most one part."""
FORM = 3
"""Version of the files; it grows when readings have other fields, or attackers other vectors."""


@dataclass(frozen=True)
class Reading:
    """What was read out of one vector."""

    text: str
    cosine: float
    """To the vector that the search compared with."""
    embedder_calls: int
    seconds: float


class Reader:
    """Inverts vectors that are not in its folder yet. The processes of `torchrun` share the work.

    Args:
        folder: holds a file for each PART vectors.
    """

    def __init__(self, inverter: Inverter, folder: Path, options: SearchOptions):
        self.inverter, self.folder, self.options = inverter, folder, options
        self._settings = digest(
            FORM,
            inverter.fingerprint(),
            inverter.search,
            inverter.effort,
            inverter.budget,
            options.rounds,
            options.beam,
        )

    def read(
        self,
        vectors: np.ndarray,
        texts: Sequence[str],
        attack: str,
        tick: Tick,
        knowledge: Knowledge | None = None,
    ) -> list[Reading]:
        """Invert vectors, float32 [n, dim], the same in every process.

        Args:
            texts, attack: the texts behind the vectors, and the name of what defended them. They
                name the files. The vectors cannot, since their last bits differ between processors.
            tick: counts the vectors that are inverted now.
            knowledge: of the defence, for the search.

        Raises:
            UserError: a vector cannot be inverted, or the folder cannot be written.
        """
        parts = [vectors[i : i + PART] for i in range(0, len(vectors), PART)]
        paths = self._paths(texts, attack)
        kept = of_first([_kept(path) for path in paths])
        missing = [i for i, readings in enumerate(kept) if readings is None]
        goal = tick.done + sum(len(parts[i]) for i in missing)
        fresh = iter(
            share_out(lambda i: self._invert(parts[i], paths[i], tick, knowledge), missing)
        )
        tick(goal - tick.done)  # the work of the other processes
        found = [next(fresh) if readings is None else readings for readings in kept]
        return [reading for readings in found for reading in readings]

    def count_kept(self, texts: Sequence[str], attack: str) -> int:
        """How many of the texts need no search, since the folder has them."""
        kept = [path.exists() for path in self._paths(texts, attack)]
        return sum(len(texts[i * PART : (i + 1) * PART]) for i, there in enumerate(kept) if there)

    def _paths(self, texts: Sequence[str], attack: str) -> list[Path]:
        parts = [texts[i : i + PART] for i in range(0, len(texts), PART)]
        return [self.folder / f"{digest(self._settings, attack, *part)}.json" for part in parts]

    def _invert(
        self, vectors: np.ndarray, path: Path, tick: Tick, knowledge: Knowledge | None
    ) -> list[Reading]:
        rounds, beam = self.options.rounds, self.options.beam
        found = {}
        for i, x in self.inverter.stream(vectors, rounds, beam, knowledge=knowledge):
            found[i] = Reading(x.text, x.cosine, x.embedder_calls, x.rounds[-1].seconds)
            tick()
        readings = [found[i] for i in range(len(vectors))]
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_whole(path, json.dumps([asdict(reading) for reading in readings]).encode())
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}") from None
        return readings


def _kept(path: Path) -> list[Reading] | None:
    if not path.exists():
        return None
    return [Reading(**row) for row in json.loads(path.read_text(encoding="utf-8"))]
