"""The ui command."""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Annotated

from tyro.conf import arg

from nanov2t.cli.inputs import loading, say
from nanov2t.cli.searching import SearchArguments
from nanov2t.core.errors import UserError
from nanov2t.core.imports import import_client

LOCAL = ("127.0.0.1", "localhost", "::1")


@dataclass
class Ui(SearchArguments):
    """Serve a page for your browser: type a text, or choose a file of vectors, and watch the text
    come back. The page loads nothing from other servers and keeps no text or file.

    Needs `pip install '.[ui]'`.
    """

    host: Annotated[str, arg(metavar="HOST")] = "127.0.0.1"
    """Address to listen on. With 0.0.0.0, your network can use the page without a login."""
    port: int | None = None
    """Port to listen on. Default: the first free one from 7860 on."""

    def run(self) -> None:
        self.check()
        check_address(self.host, self.port)
        signal.signal(signal.SIGTERM, _exit)
        with TemporaryDirectory(prefix="nanov2t-") as uploads:
            # Gradio reads these when it is imported.
            os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": uploads}
            self._serve()

    def _serve(self) -> None:
        with loading("the page"):
            import_client("gradio", "ui")
            from nanov2t.ui.desk import Desk
            from nanov2t.ui.page import open_page
        if self.host not in LOCAL:
            say(f"everybody who can reach {self.host} can use the page: it has no login")
        desk = Desk(self.load())
        page, url = open_page(desk, self.host, self.port)
        print(url, flush=True)
        try:
            page.block_thread()
        finally:
            desk.close()  # to exit in the middle of a round would crash the process


def check_address(host: str, port: int | None) -> None:
    """Refuse a host or port on which nothing can listen."""
    if port is not None and not 1 <= port <= 65535:
        raise UserError(f"--port must lie between 1 and 65535, not {port}")
    try:
        if not host:
            raise OSError
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        socket.create_server((host, port or 0), family=family).close()
    except (OSError, UnicodeError) as error:  # UnicodeError: not a possible host name
        refused = getattr(error, "errno", None)
        if refused == errno.EACCES:
            said = f"--port {port}: you may not listen there; choose one above 1023"
        elif refused == errno.EADDRINUSE:
            said = f"--port {port}: taken by another program; choose another port"
        else:
            said = f"--host {host or repr(host)}: no address of this computer"
        raise UserError(said) from None


def _exit(*_: object) -> None:
    """Exit cleanly on `kill`, as on Ctrl-C, so that uploads are deleted."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second kill must not interrupt this
    sys.exit(0)
