"""A visitor's text, its vector, and what is found for it round by round."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from threading import Event

import numpy as np

from nanov2t.core.errors import UserError
from nanov2t.defences import MadeDefence, Setting, make_defence
from nanov2t.embedders.text import reference
from nanov2t.search.state import Inversion, Round
from nanov2t.ui.desk import Desk, Way
from nanov2t.ui.drawing import note, rounds_drawn, verdict
from nanov2t.ui.neighbours import NEAREST, SENTENCES, overlap

STRENGTHS: dict[str, Callable[[int], Sequence[float]]] = {
    "noise": lambda dim: (0.005, 0.01, 0.02, 0.05, 0.1),
    "int8": lambda dim: (),
    "bits": lambda dim: (),
    "pq": lambda dim: [dim // i for i in (32, 16, 8, 4, 2) if dim % i == 0],
    "truncate": lambda dim: [dim // i for i in (16, 8, 4, 2)],
    "mask": lambda dim: (0.1, 0.25, 0.5, 0.75, 0.9),
    "scale": lambda dim: (-2.6, -1, 2),
    "rotation": lambda dim: (),
}
"""The defences that the page offers, with some parameters of each for vectors of a dimension."""


@dataclass(frozen=True)
class Task:
    """A text on its way."""

    vector: np.ndarray
    """float32 [dim]: all that the inverters are given."""
    seen: str
    """The text as they can write it."""
    remark: str
    """What the visitor should know of it."""


class Attempt:
    """What the page does with a text."""

    def __init__(self, desk: Desk):
        self.desk, self.embedder = desk, desk.inverter.embedder
        self._sentences = self.embedder.encode(SENTENCES)

    def prepare(
        self, text: str, ways: Sequence[Way], defence: str = "none", strength: float | None = None
    ) -> Task:
        """Cut a text to what the inverters of all ways can write, embed and defend it.

        Raises:
            UserError: the text is empty, or the defence cannot be had.
        """
        if not text.strip():
            raise UserError("the text is empty")
        seen, remark = text, ""
        for inverter in map(self.desk.inverter_of, ways):
            tokenizer, limit = inverter.tokenizer, inverter.max_tokens
            ids = tokenizer(seen, add_special_tokens=False, verbose=False)["input_ids"]
            if len(ids) > limit:
                remark = f"Only the first {limit} of {len(ids)} tokens are inverted. "
            seen = reference(seen, tokenizer, self.embedder, limit)
            if not seen:
                raise UserError("the text holds nothing that the inverter's tokenizer knows")
        vector = self.embedder.encode([seen])[0]
        if made := self._defence(defence, strength):
            vector = made(vector[None])[0]
        return Task(vector, seen, remark)

    def run(self, task: Task, way: Way, stop: Event) -> Iterator[tuple[str, str]]:
        """Invert the vector: status and rounds, as HTML, after each round, until the search ends or
        `stop` is set.

        Raises:
            UserError: the inverter has not what the search needs.
        """
        said = f"{task.remark}Searching"
        yield note(f"{said} …"), ""
        rounds: list[Round] = []
        table = ""
        for item in self.desk.search(task.vector, way, stop):
            if isinstance(item, Inversion):
                yield verdict(item, task.seen, task.remark), table
                return
            rounds.append(item)
            table = rounds_drawn(rounds, task.seen)
            yield note(f"{said}, round {item.round}, cosine {item.cosine:.4f} …"), table
        yield note("Stopped."), table

    def cost(self, defence: str, strength: float | None) -> str:
        """What a defence costs those who search among the vectors, as HTML.

        Raises:
            UserError: the defence cannot be had.
        """
        made = self._defence(defence, strength)
        if made is None:
            return ""
        kept = overlap(self._sentences, made)
        return note(
            f"{made.spec}: of the {NEAREST} nearest of {len(SENTENCES)} sentences, {kept:.0%} stay "
            f"the same."
        )

    def _defence(self, name: str, strength: float | None) -> MadeDefence | None:
        if name not in STRENGTHS:
            return None
        spec = name if strength is None else f"{name}:{strength:g}"
        return make_defence(spec, Setting(self.embedder.dim, seed=0, public=self._sentences))
