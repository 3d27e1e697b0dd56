"""The page: its parts, and what happens when they are used."""

from __future__ import annotations

from collections.abc import Iterator

import gradio as gr

from nanov2t.core.errors import UserError
from nanov2t.search.options import Effort
from nanov2t.ui.attempt import STRENGTHS, Attempt
from nanov2t.ui.desk import Desk
from nanov2t.ui.drawing import complaint

EXAMPLES = (
    "She moved to London to study medicine.",
    "My father repairs old clocks.",
    "The password is tulip42.",
)
INTRODUCTION = """# nanov2t

A sentence embedding holds much of the text it was made from. Type a text: it is embedded, and then
only its vector is used to find it again. Nothing leaves this computer, and nothing is kept."""
LONGEST = 2000
"""Letters of a text; networks write a fraction of that."""


def make_page(desk: Desk) -> gr.Blocks:
    """The page, to be launched."""
    page = gr.Blocks(title="nanov2t", analytics_enabled=False)
    with page:
        gr.Markdown(INTRODUCTION)
        with gr.Tab("Try"):
            _try_tab(desk)
    return page


def _try_tab(desk: Desk) -> None:
    attempt = Attempt(desk)
    dim = desk.inverter.embedder.dim
    text = gr.Textbox(label="Text", max_length=LONGEST, autofocus=True, elem_id="text")
    gr.Examples([[example] for example in EXAMPLES], text, api_visibility="private")
    with gr.Row():
        effort = gr.Radio(
            ["fast", "default", "thorough"], value=desk.inverter.effort, label="Effort"
        )
        defence = gr.Dropdown(["none", *STRENGTHS], value="none", label="Defence")
        strength = gr.Slider(0, 1, label="Strength", visible=False)
    cost = gr.HTML()
    with gr.Row():
        start = gr.Button("Invert", variant="primary", elem_id="invert")
        stop = gr.Button("Stop", elem_id="stop")
    status, strip, result = gr.HTML(elem_id="status"), gr.HTML(), gr.HTML(elem_id="result")

    def run(
        text: str, effort: Effort, defence: str, strength: float, request: gr.Request
    ) -> Iterator[tuple[str, str, str]]:
        try:
            yield from attempt.run(str(request.session_hash), text, effort, defence, strength)
        except UserError as error:
            yield complaint(str(error)), "", ""

    async def end(request: gr.Request) -> None:  # in no thread: those may all be searching
        desk.stop(str(request.session_hash))

    def choose(defence: str) -> gr.Slider:
        scale = STRENGTHS[defence](dim) if defence in STRENGTHS else None
        if scale is None:
            return gr.Slider(visible=False)
        return gr.Slider(scale.low, scale.high, scale.usual, step=scale.step, visible=True)

    gr.on(
        [start.click, text.submit],
        run,
        [text, effort, defence, strength],
        [status, strip, result],
        show_progress="minimal",
        concurrency_limit=None,  # visitors wait at the desk, where they can stop
        api_visibility="private",
    )
    # Gradio's own `cancels` would race with the search that ends, and show "Error" at times.
    stop.click(end, queue=False, api_visibility="private")
    defence.change(choose, defence, strength, api_visibility="private").then(
        attempt.cost, [defence, strength], cost, api_visibility="private"
    )
    strength.release(attempt.cost, [defence, strength], cost, api_visibility="private")
