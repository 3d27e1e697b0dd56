"""The page: an introduction and its tabs."""

from __future__ import annotations

import gradio as gr

from nanov2t.ui.attempt import Attempt
from nanov2t.ui.compare_tab import compare_tab
from nanov2t.ui.desk import Desk
from nanov2t.ui.files_tab import files_tab
from nanov2t.ui.parts import TABS, visitor_of
from nanov2t.ui.try_tab import try_tab
from nanov2t.ui.uploads import Uploads

INTRODUCTION = """# nanov2t

A sentence embedding holds much of the text it was made from. Here a text is embedded, and then only
its vector is used to find it again. Nothing leaves this computer, and nothing is kept."""


def make_page(desk: Desk) -> gr.Blocks:
    """The page, to be launched."""
    attempt, uploads = Attempt(desk), Uploads(desk)

    def leave(request: gr.Request) -> None:
        for tab in TABS:
            desk.stop(visitor_of(request, tab))
        uploads.forget(visitor_of(request, "files"))

    page = gr.Blocks(title="nanov2t", analytics_enabled=False)
    with page:
        gr.Markdown(INTRODUCTION)
        with gr.Tab("Try"):
            try_tab(attempt)
        with gr.Tab("Your vectors"):
            files_tab(uploads)
        with gr.Tab("Compare"):
            compare_tab(attempt)
        page.unload(leave)
    return page
