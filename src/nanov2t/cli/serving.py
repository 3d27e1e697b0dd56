"""The ui command."""

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
from typing import Annotated

from tyro.conf import arg

from nanov2t.cli.inputs import say
from nanov2t.cli.quiet import loading
from nanov2t.cli.searching import SearchArguments
from nanov2t.core.errors import UserError

PORTS = range(7860, 7960)
LOCAL = ("127.0.0.1", "localhost", "::1")


@dataclass
class Ui(SearchArguments):
    """Serve a page for your browser: type a text, or choose a file of vectors, and watch the text
    come back.

    Needs `pip install '.[ui]'`. The page loads nothing from other servers and keeps no text or
    file.
    """

    host: Annotated[str, arg(metavar="HOST")] = "127.0.0.1"
    """Address to listen on. With 0.0.0.0, everybody in your network can use the page without a
    login."""
    port: int | None = None
    """Port to listen on. Default: the first free one from 7860 on."""

    def run(self) -> None:
        self.check()
        self.look_up()
        port = free_port(self.host, self.port)
        with _exit_on_sigterm(), TemporaryDirectory(prefix="nanov2t-") as uploads:
            # Gradio reads these when it is imported.
            os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": uploads}
            self._serve(port)

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
            say(f"everybody who can reach {self.host} can use the page: it has no login")
        desk = Desk(self.load(), self.options)
        page, url = open_page(desk, self.host, port)
        print(url, flush=True)
        try:
            page.block_thread()
        finally:
            desk.close()  # to exit in the middle of a round would crash the process


def free_port(host: str, port: int | None) -> int:
    """The port to listen on: `port` itself, or the first of PORTS that is free.

    Raises:
        UserError: nothing can listen on this host or port.
    """
    if port is not None and not 1 <= port <= 65535:
        raise UserError(f"--port must lie between 1 and 65535, not {port}")
    for wanted in PORTS if port is None else [port]:
        try:
            family, kind, *_, address = socket.getaddrinfo(host, wanted, type=socket.SOCK_STREAM)[0]
            with socket.socket(family, kind) as listening:
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listening.bind(address)
            return wanted
        except (OSError, UnicodeError) as error:  # UnicodeError: not a possible host name
            refused = getattr(error, "errno", None)
        if refused == errno.EACCES:
            raise UserError(f"--port {wanted}: you may not listen there; choose one above 1023")
        if refused != errno.EADDRINUSE:
            raise UserError(f"--host {host or repr(host)}: no address of this computer")
    if port is not None:
        raise UserError(f"--port {port}: taken by another program; choose another port")
    raise UserError(f"ports {PORTS[0]} to {PORTS[-1]} are taken; choose another by --port")


@contextmanager
def _exit_on_sigterm() -> Iterator[None]:
    """Exit cleanly on `kill`, as on Ctrl-C, so that uploads are deleted."""

    def end(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second kill must not interrupt this
        sys.exit(0)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
