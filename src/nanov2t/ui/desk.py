"""The inverter that all visitors share, the searches that it runs for them, and their attempts on
texts, with a defence if one is chosen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from queue import Empty, Queue
from threading import Event, Lock, Thread

import numpy as np

from nanov2t.core.errors import UserError
from nanov2t.core.vectors import unit
from nanov2t.defences import DEFENCES, MadeDefence, Setting, make_defence
from nanov2t.embedders.text import reference
from nanov2t.inverter import Inverter
from nanov2t.search.options import Effort, SearchOptions
from nanov2t.search.state import Inversion, Round
from nanov2t.targets import Defence
from nanov2t.ui.drawing import DRAW

STRENGTHS: dict[str, Callable[[int], Sequence[float]]] = {
    "noise": lambda dim: (0.005, 0.01, 0.02, 0.05, 0.1),
    "pq": lambda dim: [dim // i for i in (32, 16, 8, 4, 2) if dim % i == 0],
    "truncate": lambda dim: [dim // i for i in (16, 8, 4, 2)],
    "mask": lambda dim: (0.1, 0.25, 0.5, 0.75, 0.9),
    "scale": lambda dim: (-2.6, -1, 2),
}
"""The parameters of defences that the page offers for vectors of a dimension."""
SENTENCES = Path(__file__).with_name("sentences.txt").read_text(encoding="utf-8").splitlines()
"""Public sentences, to measure what a defence costs in retrieval."""
NEAREST = 10
LOOK = 0.2
"""Seconds between two checks of whether a visitor has pressed Stop."""


class _Stopped(Exception):
    """Raised inside a search to end it."""


class Desk:
    """Runs the searches of visitors, one at a time, and keeps nothing of them."""

    def __init__(self, inverter: Inverter, options: SearchOptions):
        self.inverter, self.options = inverter, options
        self._busy = Lock()
        self._stops: dict[str, Event] = {}

    @contextmanager
    def visit(self, visitor: str) -> Iterator[Event]:
        """The event that :meth:`stop` sets for this visitor until the block ends."""
        stop = self._stops[visitor] = Event()
        try:
            yield stop
        finally:
            if self._stops.get(visitor) is stop:
                del self._stops[visitor]

    def search(
        self, vector: np.ndarray, effort: Effort, stop: Event
    ) -> Iterator[Round | Inversion]:
        """Invert a vector [dim]: yield each round as it ends, and the inversion last. Ends early if
        `stop` is set or this iterator is closed. Errors as of :meth:`Inverter.invert`."""
        found: Queue[Round | Inversion | Exception] = Queue()
        closed = Event()
        rounds, beam = self.options.rounds, self.options.beam

        def on_round(_: int, best: Round | None) -> None:
            if stop.is_set() or closed.is_set():
                raise _Stopped
            if best:
                found.put(best)

        def work() -> None:
            try:
                with self._busy:
                    on_round(0, None)  # stopped while it waited for another visitor's search?
                    [inversion] = self.inverter.invert(
                        vector[None], rounds, beam, on_round=on_round, effort=effort
                    )
                    found.put(inversion)
            except _Stopped:
                pass
            except Exception as error:  # raised again in the thread of the page
                found.put(error)

        Thread(target=work, daemon=True).start()
        try:
            while not stop.is_set():
                try:
                    item = found.get(timeout=LOOK)
                except Empty:
                    continue
                if isinstance(item, Exception):
                    raise item
                yield item
                if isinstance(item, Inversion):
                    return
        finally:
            closed.set()

    def stop(self, visitor: str) -> None:
        """End a visitor's search. The page answers at once; the round still ends."""
        if running := self._stops.get(visitor):
            running.set()

    def close(self) -> None:
        """End all searches, and wait until the processor is free."""
        for visitor in list(self._stops):
            self.stop(visitor)
        with self._busy:
            pass

    def prepare(
        self, text: str, defence: str = "none", strength: float | None = None
    ) -> tuple[np.ndarray, str, str]:
        """Cut a text to what the inverter can write, embed it and defend the vector. Returns the
        vector, float32 [dim], the text as it was cut, and what the visitor should know."""
        if not text.strip():
            raise UserError("the text is empty")
        tokenizer, limit = self.inverter.tokenizer, self.inverter.max_tokens
        count = len(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
        remark = f"Only the first {limit} of {count} tokens are inverted. " if count > limit else ""
        seen = reference(text, tokenizer, self.inverter.embedder, limit)
        if not seen:
            raise UserError("the text holds nothing that the inverter's tokenizer knows")
        [vector] = (self._defence(defence, strength) or np.copy)(
            self.inverter.embedder.encode([seen])
        )
        return vector, seen, remark

    def attempt(
        self, vector: np.ndarray, seen: str, remark: str, effort: Effort, stop: Event
    ) -> Iterator[tuple[str, str]]:
        """Invert the vector: yield the status and the rounds as HTML after each round, until the
        search ends or `stop` is set."""
        yield DRAW.note(f"{remark}Searching …"), ""
        rounds: list[Round] = []
        table = ""
        for item in self.search(vector, effort, stop):
            if isinstance(item, Inversion):
                yield DRAW.verdict(item, seen, remark), table
                return
            rounds.append(item)
            table = DRAW.rounds(rounds, seen)
            said = f"{remark}Searching, round {item.round}, cosine {item.cosine:.4f} …"
            yield DRAW.note(said), table
        yield DRAW.note("Stopped."), table

    def cost(self, defence: str, strength: float | None) -> str:
        """What a defence costs in retrieval, as HTML."""
        made = self._defence(defence, strength)
        if made is None:
            return ""
        nearest = f"of the {NEAREST} nearest of {len(SENTENCES)} sentences"
        kept = overlap(self._sentences, made)
        return str(DRAW.note(f"{made.spec}: {nearest}, {kept:.0%} stay the same."))

    @cached_property
    def _sentences(self) -> np.ndarray:
        return self.inverter.embedder.encode(SENTENCES)

    def _defence(self, name: str, strength: float | None) -> MadeDefence | None:
        if name not in DEFENCES:
            return None
        spec = name if strength is None else f"{name}:{strength:g}"
        return make_defence(
            spec, Setting(self.inverter.embedder.dim, seed=0, public=self._sentences)
        )


def overlap(vectors: np.ndarray, defence: Defence) -> float:
    """The share of each vector's ten nearest neighbours by cosine that a defence keeps, averaged
    over the vectors, float32 [n, dim]."""
    nearest = []
    for rows in (vectors, defence(vectors)):
        similar = unit(rows) @ unit(rows).T
        np.fill_diagonal(similar, -np.inf)
        nearest.append(np.argsort(-similar, axis=1, kind="stable")[:, :NEAREST])
    shared = [len(np.intersect1d(*pair)) for pair in zip(*nearest, strict=True)]
    return float(np.mean(shared)) / NEAREST
