"""The inverter that all visitors share, and the searches that it runs for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty, Queue
from threading import Event, Lock, Thread

import numpy as np

from nanov2t.inverter import Inverter
from nanov2t.search.options import Effort, SearchOptions
from nanov2t.search.state import Inversion, Round

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
        `stop` is set or this iterator is closed.

        Raises:
            UserError: as :meth:`Inverter.invert`.
        """
        found: Queue[Round | Inversion | Exception] = Queue()
        closed = Event()
        args = (vector, effort, lambda: stop.is_set() or closed.is_set(), found)
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
            closed.set()

    def stop(self, visitor: str) -> None:
        """End a visitor's search. The page answers at once; the processor is free when the round
        ends."""
        if running := self._stops.get(visitor):
            running.set()

    def close(self) -> None:
        """End all searches, and wait until the processor is free."""
        for running in list(self._stops.values()):
            running.set()
        with self._busy:
            pass

    def _work(
        self,
        vector: np.ndarray,
        effort: Effort,
        stopped: Callable[[], bool],
        found: Queue[Round | Inversion | Exception],
    ) -> None:
        def on_round(_: int, best: Round) -> None:
            if stopped():
                raise _Stopped
            found.put(best)

        rounds, beam = self.options.rounds, self.options.beam
        try:
            with self._busy:
                if not stopped():  # while it waited for another visitor's search
                    [inversion] = self.inverter.invert(
                        vector[None], rounds, beam, on_round=on_round, effort=effort
                    )
                    found.put(inversion)
        except _Stopped:
            pass
        except Exception as error:  # raised again in the thread of the page
            found.put(error)
