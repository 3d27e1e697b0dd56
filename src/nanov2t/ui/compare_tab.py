"""The tab that inverts one vector in two ways, side by side."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event
from typing import Any

import gradio as gr

from nanov2t.core.errors import UserError
from nanov2t.search.options import Effort
from nanov2t.ui.attempt import Attempt
from nanov2t.ui.desk import Desk, Way
from nanov2t.ui.drawing import complaint, note, strip, titled
from nanov2t.ui.parts import buttons, effort_choice, stops, text_box, visitor_of

SIDES: dict[str, Effort] = {"left": "fast", "right": "default"}
"""Their names, and the efforts that they begin with."""
Drawn = tuple[str, str, str, str]
"""The vector, the status, and the results of both sides."""


def compare_tab(attempt: Attempt) -> None:
    """Lay out the tab."""
    desk = attempt.desk
    text = text_box(elem_id="compared-text")
    with gr.Row():
        sides = [_side(desk, side, -i) for i, side in enumerate(SIDES)]
    start, stop_ = buttons("Compare")
    strip_, status = gr.HTML(), gr.HTML(elem_id="compared")
    with gr.Row():
        results = [_result(side) for side in SIDES]

    def run(given: dict[Any, Any], request: gr.Request) -> Iterator[Drawn]:
        ways = [Way(*(given[choice] for choice in side)) for side in sides]
        with desk.visit(visitor_of(request, "compare")) as stop:
            try:
                yield from _compare(attempt, given[text], ways, stop)
            except UserError as error:
                yield "", complaint(str(error)), "", ""

    gr.on(
        [start.click, text.submit],
        run,
        {text, *sides[0], *sides[1]},
        [strip_, status, *results],
        show_progress="minimal",
        concurrency_limit=None,
        api_visibility="private",
    )
    stops(stop_, desk, "compare")


def _side(desk: Desk, side: str, place: int) -> tuple[gr.Radio, gr.Radio, gr.Radio]:
    """The choices of a way, in its order; the inverter of the right side is the last there is."""
    names = list(desk.inverters)
    with gr.Column(min_width=320), gr.Group():
        effort = effort_choice(f"Effort, {side}", SIDES[side])
        search = gr.Radio(
            ["default", *desk.searches], value=desk.inverter.search, label=f"Search, {side}"
        )
        inverter = gr.Radio(
            names, value=names[place], label=f"Inverter, {side}", visible=len(names) > 1
        )
    return effort, search, inverter


def _result(side: str) -> gr.HTML:
    with gr.Column(min_width=320):
        return gr.HTML(elem_id=side)


def _compare(attempt: Attempt, text: str, ways: list[Way], stop: Event) -> Iterator[Drawn]:
    """One way after the other, so that each has the processor to itself."""
    task = attempt.prepare(text, ways)
    drawn, results = strip(task.vector), ["", ""]
    for i, (side, way) in enumerate(zip(SIDES, ways, strict=True)):
        title = f"{side.capitalize()}: {way.search} search, {way.effort} effort"
        if len(attempt.desk.inverters) > 1:
            title += f", {way.inverter}"
        for status, rounds in attempt.run(task, way, stop):
            results[i] = titled(title, status + rounds)
            yield drawn, note(f"The {side} side searches …"), results[0], results[1]
    yield drawn, note("Stopped." if stop.is_set() else "Both are over."), results[0], results[1]
