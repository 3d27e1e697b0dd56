"""The one inverter that all visitors share, and the searches that it runs for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from queue import Empty, Queue
from threading import Event, Lock, Thread

import numpy as np

from nanov2t.inverter import Inverter
from nanov2t.search.options import BEAM, Effort
from nanov2t.search.state import Inversion, Round

LOOK = 0.2
"""Seconds between two looks whether a visitor wants to stop."""


class _Stopped(Exception):
    """Ends a search from within."""


class Desk:
    """Runs the searches of visitors, one at a time, and forgets them.

    Args:
        inverter: the networks of all efforts, which are loaded once.
        rounds, beam: as :meth:`Inverter.invert` takes them.
    """

    def __init__(self, inverter: Inverter, rounds: int | None = None, beam: int = BEAM):
        self.inverter, self.rounds, self.beam = inverter, rounds, beam
        self._busy = Lock()
        self._stops: dict[str, Event] = {}

    @contextmanager
    def visit(self, visitor: str) -> Iterator[Event]:
        """What :meth:`stop` sets for this visitor, from here to the end of the block."""
        stop = self._stops[visitor] = Event()
        try:
            yield stop
        finally:
            if self._stops.get(visitor) is stop:
                del self._stops[visitor]

    def search(
        self, vector: np.ndarray, effort: Effort, stop: Event
    ) -> Iterator[Round | Inversion]:
        """Invert a vector [dim]: the rounds as they end, and the inversion last. Ends early once
        `stop` is set, which closing this iterator does too.

        Raises:
            UserError: as :meth:`Inverter.invert`.
        """
        found: Queue[Round | Inversion | Exception] = Queue()
        args = (self._with(effort), vector, stop, found)
        Thread(target=self._work, args=args, daemon=True).start()
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
            stop.set()

    def stop(self, visitor: str) -> None:
        """End the visitor's search. The page has its answer at once; the processor is free at the
        end of the round."""
        if running := self._stops.get(visitor):
            running.set()

    def _work(
        self,
        inverter: Inverter,
        vector: np.ndarray,
        stop: Event,
        found: Queue[Round | Inversion | Exception],
    ) -> None:
        def on_round(_: int, best: Round) -> None:
            if stop.is_set():
                raise _Stopped
            found.put(best)

        try:
            with self._busy:
                if not stop.is_set():  # while it waited for another visitor
                    [inversion] = inverter.invert(
                        vector[None], self.rounds, self.beam, on_round=on_round
                    )
                    found.put(inversion)
        except _Stopped:
            pass
        except Exception as error:  # is raised again where the page waits
            found.put(error)

    def _with(self, effort: Effort) -> Inverter:
        """The same networks at another effort."""
        ours = self.inverter
        return Inverter(
            ours.embedder,
            ours.tokenizer,
            ours.hypothesizer,
            ours.corrector,
            ours.dictionary,
            search=ours.search,
            effort=effort,
            budget=ours.budget,
        )
