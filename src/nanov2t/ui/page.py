"""The page: an introduction, and a tab for texts and one for files of vectors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import gradio as gr

from nanov2t.core.errors import UserError
from nanov2t.defences import DEFENCES
from nanov2t.search.options import Effort
from nanov2t.ui.attempt import STRENGTHS, Attempt
from nanov2t.ui.desk import Desk
from nanov2t.ui.drawing import complaint, strip
from nanov2t.ui.uploads import Uploads

INTRODUCTION = """# nanov2t

A sentence embedding keeps much of its text. This page embeds a text, and then uses only the vector
to find the text again. Nothing leaves this computer, and nothing is stored."""
FILES = """Choose a file of vectors of {name}, of any kind that `nanov2t invert --vectors` reads:
.npy, .parquet, .csv, .json and others. It is deleted when you choose another or leave the page."""
EXAMPLES = (
    "She moved to London to study medicine.",
    "My father repairs old clocks.",
    "The password is tulip42.",
)
MAX_LETTERS = 2000
"""Longest text; inverters write a fraction of that."""
MAX_ROWS = 100
"""Most rows of a file; use the command line for more."""


def make_page(desk: Desk) -> gr.Blocks:
    """The page, ready to launch."""
    attempt, uploads = Attempt(desk), Uploads(desk)

    def leave(request: gr.Request) -> None:
        for tab in ("try", "files"):
            desk.stop(_visitor(request, tab))
        uploads.forget(_visitor(request, "files"))

    page = gr.Blocks(title="nanov2t", analytics_enabled=False)
    with page:
        gr.Markdown(INTRODUCTION)
        with gr.Tab("Try"):
            _try_tab(attempt)
        with gr.Tab("Your vectors"):
            _files_tab(uploads)
        page.unload(leave)
    return page


def _try_tab(attempt: Attempt) -> None:
    desk = attempt.desk
    text = gr.Textbox(label="Text", max_length=MAX_LETTERS, autofocus=True, elem_id="text")
    gr.Examples([[example] for example in EXAMPLES], text, api_visibility="private")
    with gr.Row():
        effort = _effort_choice(desk)
        defence = gr.Dropdown(["none", *STRENGTHS], value="none", label="Defence")
    strength = gr.Radio([], label="Strength", visible=False)
    cost = gr.HTML(visible=False)
    start = _buttons("Invert", desk, "try")
    strip_, status = gr.HTML(), gr.HTML(elem_id="status")
    result = gr.HTML(elem_id="result")

    def run(
        text: str, effort: Effort, defence: str, strength: float | None, request: gr.Request
    ) -> Iterator[tuple[str, str, str]]:
        with desk.visit(_visitor(request, "try")) as stop:  # first, so that no Stop comes too early
            try:
                task = attempt.prepare(text, defence, strength)
                drawn = strip(task.vector)
                for status, rounds in attempt.run(task, effort, stop):
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
    defence.change(choose, defence, strength, api_visibility="private").then(
        price, [defence, strength], cost, api_visibility="private"
    )
    strength.input(price, [defence, strength], cost, api_visibility="private")


def _files_tab(uploads: Uploads) -> None:
    desk = uploads.desk
    gr.Markdown(FILES.format(name=desk.inverter.embedder.name))
    file = gr.File(label="File of vectors", height=140)
    look = gr.HTML(elem_id="look")
    with gr.Row():
        name = gr.Dropdown(
            [], label="Column or key", info="If there are several", allow_custom_value=True
        )
        first = gr.Number(0, label="First row", info="Counted from 0", precision=0)
        count = gr.Slider(1, MAX_ROWS, 5, step=1, label="Rows", info="At most")
    effort = _effort_choice(desk)
    start = _buttons("Invert rows", desk, "files")
    status, rows, links = gr.HTML(elem_id="progress"), gr.HTML(elem_id="rows"), gr.HTML()

    def take(path: str, request: gr.Request) -> tuple[str, gr.Dropdown]:
        visitor = _visitor(request, "files")
        uploads.keep(visitor, Path(path))
        try:
            found = uploads.look(visitor)
        except UserError as error:
            return complaint(str(error)), gr.Dropdown([], value=None)
        return found.remark, gr.Dropdown(found.names, value=found.chosen)

    def look_again(name: str | None, request: gr.Request) -> str:
        try:
            return uploads.look(_visitor(request, "files"), name).remark
        except UserError as error:
            return complaint(str(error))

    def forget(request: gr.Request) -> tuple[str, gr.Dropdown]:
        uploads.forget(_visitor(request, "files"))
        return "", gr.Dropdown([], value=None)

    def run(
        name: str | None, first: int | None, count: int, effort: Effort, request: gr.Request
    ) -> Iterator[tuple[str, str, str]]:
        visitor = _visitor(request, "files")
        with desk.visit(visitor) as stop:
            try:
                yield from uploads.run(visitor, name, first or 0, count, effort, stop)
            except UserError as error:
                yield complaint(str(error)), "", ""

    file.upload(take, file, [look, name], api_visibility="private")
    file.clear(forget, None, [look, name], api_visibility="private")
    name.input(look_again, name, look, api_visibility="private")
    start.click(
        run,
        [name, first, count, effort],
        [status, rows, links],
        show_progress="minimal",
        concurrency_limit=None,
        api_visibility="private",
    )


def _visitor(request: gr.Request, tab: str) -> str:
    """A name for who sent a request. A visitor may have a search in each tab."""
    return f"{request.session_hash} {tab}"


def _effort_choice(desk: Desk) -> gr.Radio:
    return gr.Radio(list(get_args(Effort)), value=desk.inverter.effort, label="Effort")


def _buttons(label: str, desk: Desk, tab: str) -> gr.Button:
    """A start button beside a Stop button that works; returns the first."""
    with gr.Row():
        start, stop = gr.Button(label, variant="primary", scale=3), gr.Button("Stop", scale=1)

    async def end(request: gr.Request) -> None:  # async, as searches may use all threads
        desk.stop(_visitor(request, tab))

    # Gradio's own `cancels` races with the end of a search and sometimes shows "Error".
    stop.click(end, queue=False, api_visibility="private")
    return start
