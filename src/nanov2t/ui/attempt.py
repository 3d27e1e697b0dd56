"""Invert the vector of a visitor's text, with a defence if one is chosen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import numpy as np

from nanov2t.core.errors import UserError
from nanov2t.core.vectors import unit
from nanov2t.defences import MadeDefence, Setting, make_defence
from nanov2t.embedders.text import reference
from nanov2t.search.options import Effort
from nanov2t.search.state import Inversion, Round
from nanov2t.targets import Defence
from nanov2t.ui.desk import Desk
from nanov2t.ui.drawing import note, rounds_drawn, verdict

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
"""The defences that the page offers, and the parameters of each for vectors of a dimension."""
SENTENCES = Path(__file__).with_name("sentences.txt").read_text(encoding="utf-8").splitlines()
"""Public sentences, to measure what a defence costs in retrieval."""
NEAREST = 10


@dataclass(frozen=True)
class Task:
    """A text that is ready to be inverted."""

    vector: np.ndarray
    """float32 [dim]: all that the inverter sees."""
    seen: str
    """The text, cut to what the inverter can write."""
    remark: str
    """What the visitor should know about the text."""


class Attempt:
    """Prepares and inverts texts for the page."""

    def __init__(self, desk: Desk):
        self.desk, self.embedder = desk, desk.inverter.embedder
        self._sentences = self.embedder.encode(SENTENCES)

    def prepare(self, text: str, defence: str = "none", strength: float | None = None) -> Task:
        """Cut a text to what the inverter can write, embed it and defend the vector.

        Raises:
            UserError: the text is empty, or there is no such defence.
        """
        if not text.strip():
            raise UserError("the text is empty")
        tokenizer, limit = self.desk.inverter.tokenizer, self.desk.inverter.max_tokens
        count = len(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
        remark = f"Only the first {limit} of {count} tokens are inverted. " if count > limit else ""
        seen = reference(text, tokenizer, self.embedder, limit)
        if not seen:
            raise UserError("the text holds nothing that the inverter's tokenizer knows")
        vectors = self.embedder.encode([seen])
        if made := self._defence(defence, strength):
            vectors = made(vectors)
        return Task(vectors[0], seen, remark)

    def run(self, task: Task, effort: Effort, stop: Event) -> Iterator[tuple[str, str]]:
        """Invert the vector: yield the status and the rounds as HTML after each round, until the
        search ends or `stop` is set."""
        yield note(f"{task.remark}Searching …"), ""
        rounds: list[Round] = []
        table = ""
        for item in self.desk.search(task.vector, effort, stop):
            if isinstance(item, Inversion):
                yield verdict(item, task.seen, task.remark), table
                return
            rounds.append(item)
            table = rounds_drawn(rounds, task.seen)
            said = f"{task.remark}Searching, round {item.round}, cosine {item.cosine:.4f} …"
            yield note(said), table
        yield note("Stopped."), table

    def cost(self, defence: str, strength: float | None) -> str:
        """What a defence costs in retrieval, as HTML.

        Raises:
            UserError: there is no such defence.
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


def overlap(vectors: np.ndarray, defence: Defence) -> float:
    """The share of each vector's ten nearest neighbours that a defence keeps, averaged over the
    vectors, float32 [n, dim]."""
    before, after = _nearest(vectors), _nearest(defence(vectors))
    shared = [len(set(a) & set(b)) for a, b in zip(before.tolist(), after.tolist(), strict=True)]
    return float(np.mean(shared)) / NEAREST


def _nearest(vectors: np.ndarray) -> np.ndarray:
    """The numbers of the ten nearest other vectors of each, by cosine: int [n, 10]."""
    similar = unit(vectors) @ unit(vectors).T
    np.fill_diagonal(similar, -np.inf)
    return np.argsort(-similar, axis=1, kind="stable")[:, :NEAREST]
