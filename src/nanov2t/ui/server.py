"""Serve the page."""

from __future__ import annotations

import gradio as gr
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nanov2t.core.errors import UserError, first_line
from nanov2t.ui.desk import Desk
from nanov2t.ui.drawing import STYLE
from nanov2t.ui.page import make_page

POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; "
    "object-src 'none'; form-action 'self'; frame-ancestors 'self'"
)
"""Stops the browser from loading anything from other servers."""


class OwnOnly:
    """Adds the policy to every response."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Content-Security-Policy"] = POLICY
            await send(message)

        await self.app(scope, receive, sending)


def open_page(desk: Desk, host: str, port: int) -> tuple[gr.Blocks, str]:
    """Serve the page in a thread of its own. Returns the page, to wait for or close, and its URL.

    Raises:
        UserError: nothing can listen on this host and port.
    """
    page = make_page(desk)
    apps = {"middleware": [Middleware(OwnOnly)], "docs_url": None, "redoc_url": None}
    try:
        _, url, _ = page.launch(
            server_name=host,
            server_port=port,
            share=False,
            quiet=True,
            prevent_thread_lock=True,
            ssr_mode=False,
            footer_links=[],
            run_history=False,  # or the browser would keep the texts
            theme=_theme(),
            head=f"<style>{STYLE}</style>",  # `css` would drop the rules that Gradio does not know
            app_kwargs=apps,
        )
    except OSError as error:
        raise UserError(f"{host}: {first_line(error)}") from None
    return page, url


def _theme() -> gr.themes.Base:
    """Gradio's default with the system's fonts and a contrast of at least 4.5 to 1."""
    theme = gr.themes.Default(
        primary_hue="blue", font=["system-ui", "sans-serif"], font_mono=["monospace"]
    )
    names = ("button_primary_background_fill", "button_primary_background_fill_hover")
    fills = dict(zip(names, ("*primary_700", "*primary_800"), strict=True))
    subdued = {"body_text_color_subdued": "*neutral_600", "block_info_text_color": "*neutral_600"}
    dark = {f"{name}_dark": fill for name, fill in fills.items()}
    dark |= {f"{name}_dark": "*neutral_300" for name in subdued}
    return theme.set(**fills, **subdued, **dark)
