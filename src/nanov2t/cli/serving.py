"""The command that serves the page. Free of torch, so that help is instant."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from nanov2t.cli.searching import SearchArguments
from nanov2t.core.errors import UserError

if TYPE_CHECKING:
    from nanov2t.inverter import Inverter

LOCAL = ("127.0.0.1", "localhost", "::1")


@dataclass
class Ui(SearchArguments):
    """Serve a page in the browser: type a text, or bring a file of vectors, and watch the text come
    back.

    `pip install '.[ui]'` installs what it needs. It loads nothing from elsewhere, and keeps no text
    and no file.
    """

    compare: str | None = None
    """Another inverter of the same embedder, to be compared with on the page."""

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 lets others in, who need no login."""
    port: int | None = None
    """By default the first that is free, from 7860 on."""

    def run(self) -> None:
        self.check(rounds=0, beam=1)
        with _exit_when_terminated(), TemporaryDirectory(prefix="nanov2t-") as uploads:
            os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": uploads}
            self._serve()  # imports Gradio, which looks at them

    def _serve(self) -> None:
        try:
            from nanov2t.ui.desk import Desk
            from nanov2t.ui.server import open_page
        except ModuleNotFoundError as error:
            if error.name != "gradio":
                raise
            raise UserError(
                "gradio is not installed: pip install '.[ui]' in a clone of nanov2t"
            ) from None
        if self.host not in LOCAL:
            print(
                f"nanov2t: whoever reaches {self.host} may use the page: it has no login",
                file=sys.stderr,
            )
        desk = Desk(self._inverters(), self.rounds, self.beam)
        page, url = open_page(desk, self.host, self.port)
        print(url, flush=True)
        try:
            page.block_thread()
        finally:
            desk.close()  # what ends within a round takes the whole process down

    def _inverters(self) -> dict[str, Inverter]:
        """By the names that they are given."""
        inverters = {self.inverter: self.load()}
        if self.compare is not None:
            from nanov2t.load import load_inverter

            first = inverters[self.inverter]
            inverters[self.compare] = load_inverter(
                self.compare, embedder=first.embedder, effort=self.effort, budget=first.budget
            )
        return inverters


@contextmanager
def _exit_when_terminated() -> Iterator[None]:
    """Lets a `kill` end the process as Ctrl-C does, so that no upload stays behind."""

    def end(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # another one would cut that short
        sys.exit(0)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
