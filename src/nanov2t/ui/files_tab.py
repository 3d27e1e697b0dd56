"""The tab that inverts vectors out of a visitor's file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import gradio as gr

from nanov2t.core.errors import UserError
from nanov2t.search.options import Effort
from nanov2t.ui.desk import Way
from nanov2t.ui.drawing import complaint
from nanov2t.ui.parts import buttons, effort_choice, stops, visitor_of
from nanov2t.ui.uploads import Uploads

HELP = """A file of vectors of {name}, of any kind that `nanov2t invert --vectors` reads, such as
.npy, .parquet, .csv or .json. It is deleted when you choose another or leave the page."""
ROWS = 100
"""Rows that are inverted at most; more are work for the command line."""


def files_tab(uploads: Uploads) -> None:
    """Lay out the tab."""
    desk = uploads.desk
    gr.Markdown(HELP.format(name=desk.inverter.embedder.name))
    file = gr.File(label="File of vectors", height=140)
    look = gr.HTML(elem_id="look")
    with gr.Row():
        name = gr.Dropdown(
            [], label="Column or key", info="Where there are several", allow_custom_value=True
        )
        first = gr.Number(0, label="First row", info="Counted from 0", precision=0)
        count = gr.Slider(1, ROWS, 5, step=1, label="Rows", info="At most")
    effort = effort_choice("Effort", desk.inverter.effort)
    start, stop = buttons("Invert rows")
    status, rows, links = gr.HTML(elem_id="progress"), gr.HTML(elem_id="rows"), gr.HTML()

    def take(path: str, request: gr.Request) -> tuple[str, gr.Dropdown]:
        uploads.keep(visitor_of(request, "files"), Path(path))
        try:
            found = uploads.look(visitor_of(request, "files"))
        except UserError as error:
            return complaint(str(error)), gr.Dropdown([], value=None)
        return found.remark, gr.Dropdown(found.names, value=found.chosen)

    def look_again(name: str | None, request: gr.Request) -> str:
        try:
            return uploads.look(visitor_of(request, "files"), name).remark
        except UserError as error:
            return complaint(str(error))

    def forget(request: gr.Request) -> tuple[str, gr.Dropdown]:
        uploads.forget(visitor_of(request, "files"))
        return "", gr.Dropdown([], value=None)

    def run(
        name: str | None, first: int | None, count: int, effort: Effort, request: gr.Request
    ) -> Iterator[tuple[str, str, str]]:
        visitor = visitor_of(request, "files")
        with desk.visit(visitor) as stop:
            try:
                yield from uploads.run(visitor, name, first or 0, count, Way(effort), stop)
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
    stops(stop, desk, "files")
