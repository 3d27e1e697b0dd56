"""Serves the page, to this computer alone where nothing else is asked for."""

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
"""Lets the browser load nothing from elsewhere, whatever the page's libraries might want."""


class OwnOnly:
    """Puts the policy on every answer."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Content-Security-Policy"] = POLICY
            await send(message)

        await self.app(scope, receive, sending)


def open_page(desk: Desk, host: str, port: int) -> tuple[gr.Blocks, str]:
    """Serve the page from a thread of its own.

    Args:
        host, port: to listen on.

    Returns:
        The page, to be waited for or closed, and its address.

    Raises:
        UserError: the address or the port cannot be had.
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
            run_history=False,  # else the browser would keep the texts
            theme=_theme(),
            head=f"<style>{STYLE}</style>",  # of `css` Gradio drops what it does not know
            app_kwargs=apps,
        )
    except OSError as error:
        raise UserError(f"{host}: {first_line(error)}") from None
    return page, url


def _theme() -> gr.themes.Base:
    """Gradio's own with the reader's fonts, and colours that stand out by at least 4.5 to 1."""
    theme = gr.themes.Default(
        primary_hue="blue", font=["system-ui", "sans-serif"], font_mono=["monospace"]
    )
    names = ("button_primary_background_fill", "button_primary_background_fill_hover")
    fills = dict(zip(names, ("*primary_700", "*primary_800"), strict=True))
    subdued = {"body_text_color_subdued": "*neutral_600", "block_info_text_color": "*neutral_600"}
    dark = {f"{name}_dark": fill for name, fill in fills.items()}
    dark |= {f"{name}_dark": "*neutral_300" for name in subdued}
    return theme.set(**fills, **subdued, **dark)
