"""The tab that inverts the vector of a text."""

from __future__ import annotations

from collections.abc import Iterator

import gradio as gr

from nanov2t.core.errors import UserError
from nanov2t.defences import DEFENCES
from nanov2t.search.options import Effort
from nanov2t.ui.attempt import STRENGTHS, Attempt
from nanov2t.ui.desk import Way
from nanov2t.ui.drawing import complaint, strip
from nanov2t.ui.parts import buttons, effort_choice, stops, text_box, visitor_of

EXAMPLES = (
    "She moved to London to study medicine.",
    "My father repairs old clocks.",
    "The password is tulip42.",
)


def try_tab(attempt: Attempt) -> None:
    """Lay out the tab."""
    text = text_box(autofocus=True, elem_id="text")
    gr.Examples([[example] for example in EXAMPLES], text, api_visibility="private")
    with gr.Row():
        effort = effort_choice("Effort", attempt.desk.inverter.effort)
        defence = gr.Dropdown(["none", *STRENGTHS], value="none", label="Defence")
    strength = gr.Radio([], label="Strength", visible=False)
    cost = gr.HTML(visible=False)
    start, stop = buttons("Invert")
    strip_, status = gr.HTML(), gr.HTML(elem_id="status")
    result = gr.HTML(elem_id="result")

    def run(
        text: str, effort: Effort, defence: str, strength: float | None, request: gr.Request
    ) -> Iterator[tuple[str, str, str]]:
        way = Way(effort)
        # Before all else, so that no Stop comes too early.
        with attempt.desk.visit(visitor_of(request, "try")) as stop:
            try:
                task = attempt.prepare(text, [way], defence, strength)
                drawn = strip(task.vector)
                for status, rounds in attempt.run(task, way, stop):
                    yield drawn, status, rounds
            except UserError as error:
                yield "", complaint(str(error)), ""

    def choose(defence: str) -> gr.Radio:
        strengths = STRENGTHS[defence](attempt.embedder.dim) if defence in STRENGTHS else ()
        if not strengths:
            return gr.Radio(value=None, visible=False)
        usual, info = strengths[len(strengths) // 2], DEFENCES[defence].parameter
        return gr.Radio([(f"{s:g}", s) for s in strengths], value=usual, info=info, visible=True)

    def price(defence: str, strength: float | None) -> gr.HTML:
        try:
            said = attempt.cost(defence, strength)
        except UserError as error:
            said = complaint(str(error))
        return gr.HTML(said, visible=bool(said))

    gr.on(
        [start.click, text.submit],
        run,
        [text, effort, defence, strength],
        [strip_, status, result],
        show_progress="minimal",
        concurrency_limit=None,  # visitors wait at the desk, where they can stop
        api_visibility="private",
    )
    stops(stop, attempt.desk, "try")
    defence.change(choose, defence, strength, api_visibility="private").then(
        price, [defence, strength], cost, api_visibility="private"
    )
    strength.input(price, [defence, strength], cost, api_visibility="private")
