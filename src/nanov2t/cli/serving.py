"""The command that serves the page. Free of torch, so that help is instant."""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

from tyro.conf import arg

from nanov2t.cli.checks import check_inverter
from nanov2t.cli.quiet import loading
from nanov2t.cli.searching import SearchArguments
from nanov2t.core.errors import UserError

if TYPE_CHECKING:
    from nanov2t.inverter import Inverter

PORTS = range(7860, 7960)
LOCAL = ("127.0.0.1", "localhost", "::1")


@dataclass
class Ui(SearchArguments):
    """Serve a page in the browser: type a text, or bring a file of vectors, and watch the text come
    back.

    `pip install '.[ui]'` installs what it needs. It loads nothing from elsewhere, and keeps no text
    and no file.
    """

    compare: Annotated[str | None, arg(metavar="NAME")] = None
    """Another inverter of the same embedder, to be compared with on the page."""

    host: Annotated[str, arg(metavar="HOST")] = "127.0.0.1"
    """Address to listen on; 0.0.0.0 lets others in, who need no login."""
    port: int | None = None
    """By default the first that is free, from 7860 on."""

    def run(self) -> None:
        self.check()
        self.look_up()
        if self.compare is not None:
            check_inverter(self.compare)
        port = free_port(self.host, self.port)
        with _exit_when_terminated(), TemporaryDirectory(prefix="nanov2t-") as uploads:
            os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": uploads}
            self._serve(port)  # imports Gradio, which looks at them

    def _serve(self, port: int) -> None:
        try:
            with loading("the page"):
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
        page, url = open_page(desk, self.host, port)
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


def free_port(host: str, port: int | None) -> int:
    """The port to listen on: the one that is asked for, or the first of PORTS that is free.

    Raises:
        UserError: the host is no address of this computer, or the port cannot be had.
    """
    if port is not None and not 1 <= port <= 65535:
        raise UserError(f"--port must lie between 1 and 65535, not {port}")
    for wanted in PORTS if port is None else [port]:
        refused = _refusal(host, wanted)
        if not refused:
            return wanted
        if refused == errno.EACCES:
            raise UserError(f"--port {wanted}: you may not listen there; choose one above 1023")
        if refused != errno.EADDRINUSE:
            raise UserError(f"--host {host or repr(host)}: no address of this computer")
    if port is not None:
        raise UserError(f"--port {port}: taken by another program; choose another port")
    raise UserError(f"ports {PORTS[0]} to {PORTS[-1]} are taken; choose another by --port")


def _refusal(host: str, port: int) -> int:
    """The system's number of why nothing can listen there; 0 where it can."""
    try:
        family, kind, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as listening:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
    except OSError as error:
        return error.errno or errno.EADDRNOTAVAIL
    except UnicodeError:  # a name that no computer can have
        return errno.EADDRNOTAVAIL
    return 0


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
