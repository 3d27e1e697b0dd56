"""The command that serves the page. Free of torch, so that help is instant."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

from nanov2t.cli.searching import SearchArguments
from nanov2t.core.errors import UserError

LOCAL = ("127.0.0.1", "localhost", "::1")


@dataclass
class Ui(SearchArguments):
    """Serve a page in the browser: type a text, watch its vector give it back.

    It needs `nanov2t[ui]`, loads nothing from elsewhere, and keeps no text.
    """

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 lets others in, who need no login."""
    port: int | None = None
    """By default the first that is free, from 7860 on."""

    def run(self) -> None:
        self.check(rounds=0, beam=1)
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # before Gradio is imported
        try:
            from nanov2t.ui.desk import Desk
            from nanov2t.ui.server import open_page
        except ModuleNotFoundError as error:
            if error.name != "gradio":
                raise
            raise UserError("gradio is not installed: pip install 'nanov2t[ui]'") from None
        if self.host not in LOCAL:
            print(
                f"nanov2t: whoever reaches {self.host} may use the page: it has no login",
                file=sys.stderr,
            )
        desk = Desk(self.load(), self.rounds, self.beam)
        page, url = open_page(desk, self.host, self.port)
        print(url, flush=True)
        page.block_thread()
