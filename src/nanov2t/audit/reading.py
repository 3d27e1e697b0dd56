"""What inverters read out of vectors, kept in a folder so that an audit resumes where it was
killed."""

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
from nanov2t.targets import Knowledge

PART = 8
"""Vectors whose readings are kept in a file, which is what a kill can cost a process. Each part is
a search of its own, so that what is found does not depend on the number of processes."""
FORM = 3
"""Of the files; it grows when readings have other fields, or attackers make other vectors."""


@dataclass(frozen=True)
class Reading:
    """What was read out of one vector."""

    text: str
    cosine: float
    """Of the vectors that were compared."""
    embedder_calls: int
    seconds: float


class Reader:
    """Inverts vectors; whatever was inverted before by the same means is not inverted again. The
    processes of `torchrun` share the rest out.

    Args:
        folder: for what was read, a file for each PART of a set of vectors.
        rounds, beam: of the search.
    """

    def __init__(self, inverter: Inverter, folder: Path, rounds: int | None, beam: int):
        self.inverter, self.folder, self.rounds, self.beam = inverter, folder, rounds, beam
        self.means = digest(
            FORM,
            inverter.fingerprint(),
            inverter.search,
            inverter.effort,
            inverter.budget,
            rounds,
            beam,
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
            texts: those behind the vectors, and
            attack: names what made the vectors of them. What was read is found again by these
                two, not by the vectors, whose last bits differ between processors.
            tick: counts the vectors that are inverted now, not those that were before.
            knowledge: of the defence that they have passed, for the search to go by.

        Raises:
            UserError: a vector cannot be inverted, or the folder not written.
        """
        parts = [vectors[i : i + PART] for i in range(0, len(vectors), PART)]
        paths = self._paths(texts, attack)
        kept = of_first([_kept(path) for path in paths])
        missing = [i for i, readings in enumerate(kept) if readings is None]
        goal = tick.done + sum(len(parts[i]) for i in missing)
        fresh = iter(
            share_out(lambda i: self._invert(parts[i], paths[i], tick, knowledge), missing)
        )
        tick(goal - tick.done)  # what the other processes did
        found = [next(fresh) if readings is None else readings for readings in kept]
        return [reading for readings in found for reading in readings]

    def count_kept(self, texts: Sequence[str], attack: str) -> int:
        """How many of the texts' vectors need no search, since they were inverted before."""
        kept = [path.exists() for path in self._paths(texts, attack)]
        return sum(len(texts[i * PART : (i + 1) * PART]) for i, there in enumerate(kept) if there)

    def _paths(self, texts: Sequence[str], attack: str) -> list[Path]:
        """The file of each part's readings."""
        parts = [texts[i : i + PART] for i in range(0, len(texts), PART)]
        return [self.folder / f"{digest(self.means, attack, *part)}.json" for part in parts]

    def _invert(
        self, vectors: np.ndarray, path: Path, tick: Tick, knowledge: Knowledge | None
    ) -> list[Reading]:
        found = {}
        for i, x in self.inverter.stream(vectors, self.rounds, self.beam, knowledge=knowledge):
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
    """The readings in a file, if it is there."""
    if not path.exists():
        return None
    return [Reading(**row) for row in json.loads(path.read_text(encoding="utf-8"))]
