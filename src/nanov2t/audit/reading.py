"""What inverters read out of vectors, kept in a folder so that an audit resumes where it was
killed."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from nanov2t.core.errors import UserError
from nanov2t.core.files import write_whole
from nanov2t.inverter import Inverter
from nanov2t.stores.base import digest
from nanov2t.targets import Knowledge

FORM = 2
"""Of the files; it grows when readings have other fields."""


@dataclass(frozen=True)
class Reading:
    """What was read out of one vector."""

    text: str
    cosine: float
    """Of the vectors that were compared."""
    embedder_calls: int
    seconds: float


class Reader:
    """Inverts vectors; whatever was inverted before by the same means is not inverted again.

    Args:
        folder: for what was read, a file for each set of vectors.
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

    def read(self, vectors: np.ndarray, knowledge: Knowledge | None = None) -> list[Reading]:
        """Invert vectors, float32 [n, dim].

        Args:
            knowledge: of the defence that they have passed, for the search to go by.

        Raises:
            UserError: a vector cannot be inverted, or the folder not written.
        """
        # What the owner's defence and the restoring make of them stands for both.
        known = b"" if knowledge is None else knowledge.restore(vectors).tobytes()
        path = self.folder / f"{digest(self.means, vectors.tobytes(), known)}.json"
        if path.exists():
            return [Reading(**row) for row in json.loads(path.read_text(encoding="utf-8"))]
        found = self.inverter.invert(vectors, self.rounds, self.beam, knowledge=knowledge)
        readings = [
            Reading(x.text, x.cosine, x.embedder_calls, x.rounds[-1].seconds) for x in found
        ]
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_whole(path, json.dumps([asdict(reading) for reading in readings]).encode())
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}") from None
        return readings
