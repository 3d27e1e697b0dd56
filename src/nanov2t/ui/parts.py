"""Parts that the tabs share."""

from __future__ import annotations

from typing import Any, get_args

import gradio as gr

from nanov2t.search.options import Effort
from nanov2t.ui.desk import Desk

TABS = ("try", "files", "compare")
LONGEST = 2000
"""Letters of a text; networks write a fraction of that."""


def visitor_of(request: gr.Request, tab: str) -> str:
    """Who has sent a request; in each tab a visitor may have a search of its own."""
    return f"{request.session_hash} {tab}"


def text_box(**settings: Any) -> gr.Textbox:
    return gr.Textbox(label="Text", max_length=LONGEST, **settings)


def effort_choice(label: str, value: Effort) -> gr.Radio:
    return gr.Radio(list(get_args(Effort)), value=value, label=label)


def buttons(label: str) -> tuple[gr.Button, gr.Button]:
    """One that starts, and one that stops."""
    with gr.Row():
        return gr.Button(label, variant="primary", scale=3), gr.Button("Stop", scale=1)


def stops(button: gr.Button, desk: Desk, tab: str) -> None:
    """Let a button stop what runs in a tab."""

    async def end(request: gr.Request) -> None:  # in no thread: those may all be searching
        desk.stop(visitor_of(request, tab))

    # Gradio's own `cancels` would race with the search that ends, and show "Error" at times.
    button.click(end, queue=False, api_visibility="private")
