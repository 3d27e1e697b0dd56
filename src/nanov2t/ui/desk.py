"""The inverters that all visitors share, and the searches that they run for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from queue import Empty, Queue
from threading import Event, Lock, Thread

import numpy as np

from nanov2t.core.errors import UserError
from nanov2t.inverter import Inverter
from nanov2t.search.options import BEAM, Effort
from nanov2t.search.registry import SEARCHES
from nanov2t.search.state import Inversion, Round

LOOK = 0.2
"""Seconds between two looks whether a visitor wants to stop."""


@dataclass(frozen=True)
class Way:
    """How a vector is inverted."""

    effort: Effort
    search: str | None = None
    """None: the one that the inverter was loaded with."""
    inverter: str | None = None
    """Its name at the desk; None: the first."""


class _Stopped(Exception):
    """Ends a search from within."""


class Desk:
    """Runs the searches of visitors, one at a time, and forgets them.

    Args:
        inverters: of one embedder, by name; their networks are loaded once.
        rounds, beam: as :meth:`Inverter.invert` takes them.
    """

    def __init__(
        self, inverters: Mapping[str, Inverter], rounds: int | None = None, beam: int = BEAM
    ):
        self.inverters, self.rounds, self.beam = inverters, rounds, beam
        self._busy = Lock()
        self._stops: dict[str, Event] = {}

    @property
    def inverter(self) -> Inverter:
        """The first one."""
        return next(iter(self.inverters.values()))

    def inverter_of(self, way: Way) -> Inverter:
        """The inverter of a way, with the same networks at its search and effort.

        Raises:
            UserError: the inverter has not what the search needs.
        """
        ours = self.inverters[way.inverter] if way.inverter else self.inverter
        return ours.with_search(way.search or ours.search, way.effort)

    @property
    def searches(self) -> list[str]:
        """The names of those that some inverter can do."""
        return [name for name in SEARCHES if any(self._can(name, i) for i in self.inverters)]

    def _can(self, search: str, inverter: str) -> bool:
        try:
            self.inverter_of(Way("default", search, inverter))
        except UserError:
            return False
        return True

    @contextmanager
    def visit(self, visitor: str) -> Iterator[Event]:
        """What :meth:`stop` sets for this visitor, from here to the end of the block."""
        stop = self._stops[visitor] = Event()
        try:
            yield stop
        finally:
            if self._stops.get(visitor) is stop:
                del self._stops[visitor]

    def search(self, vector: np.ndarray, way: Way, stop: Event) -> Iterator[Round | Inversion]:
        """Invert a vector [dim]: the rounds as they end, and the inversion last. Ends early once
        `stop` is set, or this iterator is closed.

        Raises:
            UserError: as :meth:`Inverter.invert` and :meth:`inverter_of`.
        """
        found: Queue[Round | Inversion | Exception] = Queue()
        closed = Event()
        args = (self.inverter_of(way), vector, (stop, closed), found)
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
        """End the visitor's search. The page has its answer at once; the processor is free at the
        end of the round."""
        if running := self._stops.get(visitor):
            running.set()

    def close(self) -> None:
        """End all searches; returns once the processor is free."""
        for running in list(self._stops.values()):
            running.set()
        with self._busy:
            pass

    def _work(
        self,
        inverter: Inverter,
        vector: np.ndarray,
        stops: Sequence[Event],
        found: Queue[Round | Inversion | Exception],
    ) -> None:
        def on_round(_: int, best: Round) -> None:
            if any(stop.is_set() for stop in stops):
                raise _Stopped
            found.put(best)

        try:
            with self._busy:
                # Stopped, perhaps, while it waited for another visitor.
                if not any(stop.is_set() for stop in stops):
                    [inversion] = inverter.invert(
                        vector[None], self.rounds, self.beam, on_round=on_round
                    )
                    found.put(inversion)
        except _Stopped:
            pass
        except Exception as error:  # is raised again where the page waits
            found.put(error)
