"""The page, an introduction and a tab each for texts and files of vectors, and its server."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, get_args

import gradio as gr
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nanov2t.core.errors import UserError, first_line
from nanov2t.defences import DEFENCES
from nanov2t.search.options import Effort
from nanov2t.ui.desk import DRAW, STRENGTHS, Desk, strip

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
MAX_LETTERS = 2000  # of a text; inverters write a fraction of that
MAX_ROWS = 100  # of a file; use the command line for more
EFFORTS = list(get_args(Effort))
POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; "
    "object-src 'none'; form-action 'self'; frame-ancestors 'self'"
)  # stops the browser from loading anything from other servers
on = partial(gr.on, api_visibility="private")
STREAM: dict[str, Any] = {"show_progress": "minimal", "concurrency_limit": None}
"""Visitors wait at the desk, where they can stop, not in Gradio's queue."""


def make_page(desk: Desk) -> gr.Blocks:
    """The page, ready to launch."""

    def leave(request: gr.Request) -> None:
        for tab in ("try", "files"):
            desk.stop(_visitor(request, tab))
        desk.forget(_visitor(request, "files"))

    page = gr.Blocks(title="nanov2t", analytics_enabled=False)
    with page:
        gr.Markdown(INTRODUCTION)
        with gr.Tab("Try"):
            _try_tab(desk)
        with gr.Tab("Your vectors"):
            _files_tab(desk)
        page.unload(leave)
    return page


def _try_tab(desk: Desk) -> None:
    text = gr.Textbox(label="Text", max_length=MAX_LETTERS, autofocus=True, elem_id="text")
    gr.Examples([[example] for example in EXAMPLES], text, api_visibility="private")
    with gr.Row():
        effort = gr.Radio(EFFORTS, value=desk.inverter.options.effort, label="Effort")
        defence = gr.Dropdown(["none", *DEFENCES], value="none", label="Defence")
    strength = gr.Radio([], label="Strength", visible=False)
    cost = gr.HTML(visible=False)
    start = _buttons("Invert", desk, "try")
    drawn, status = gr.HTML(), gr.HTML(elem_id="status")
    result = gr.HTML(elem_id="result")

    def run(
        text: str, effort: Effort, defence: str, strength: float | None, request: gr.Request
    ) -> Iterator[tuple[str, str, str]]:
        with desk.visit(_visitor(request, "try")) as stop:  # first, so that no Stop comes too early
            try:
                vector, seen, remark = desk.prepare(text, defence, strength)
                for state in desk.attempt(vector, seen, remark, effort, stop):
                    yield strip(vector), *state
            except UserError as error:
                yield "", DRAW.complaint(str(error)), ""

    def choose(defence: str) -> gr.Radio:
        strengths = STRENGTHS[defence](desk.inverter.embedder.dim) if defence in STRENGTHS else ()
        if not strengths:
            return gr.Radio(value=None, visible=False)
        usual, info = strengths[len(strengths) // 2], DEFENCES[defence].parameter
        return gr.Radio([(f"{s:g}", s) for s in strengths], value=usual, info=info, visible=True)

    def price(defence: str, strength: float | None) -> gr.HTML:
        said = _or_complaint(desk.cost, defence, strength)
        return gr.HTML(said, visible=bool(said))

    inputs = [text, effort, defence, strength]
    on([start.click, text.submit], run, inputs, [drawn, status, result], **STREAM)
    chosen = on(defence.change, choose, defence, strength)
    chosen.then(price, [defence, strength], cost, api_visibility="private")
    on(strength.input, price, [defence, strength], cost)


def _files_tab(desk: Desk) -> None:
    gr.Markdown(FILES.format(name=desk.inverter.embedder.name))
    file = gr.File(label="File of vectors", height=140)
    look = gr.HTML(elem_id="look")
    with gr.Row():
        info = "If there are several"
        name = gr.Dropdown([], label="Column or key", info=info, allow_custom_value=True)
        first = gr.Number(0, label="First row", info="Counted from 0", precision=0)
        count = gr.Slider(1, MAX_ROWS, 5, step=1, label="Rows", info="At most")
    effort = gr.Radio(EFFORTS, value=desk.inverter.options.effort, label="Effort")
    start = _buttons("Invert rows", desk, "files")
    status, rows, links = gr.HTML(elem_id="progress"), gr.HTML(elem_id="rows"), gr.HTML()

    def take(path: str | None, request: gr.Request) -> tuple[str, gr.Dropdown]:
        visitor, said = _visitor(request, "files"), ""
        try:
            if path is not None:
                desk.keep(visitor, Path(path))
                said, names, chosen = desk.look(visitor)
                return said, gr.Dropdown(names, value=chosen)
            desk.forget(visitor)
        except UserError as error:
            said = DRAW.complaint(str(error))
        return said, gr.Dropdown([], value=None)

    def look_again(name: str | None, request: gr.Request) -> str:
        return _or_complaint(lambda: desk.look(_visitor(request, "files"), name)[0])

    def run(
        name: str | None, first: int | None, count: int, effort: Effort, request: gr.Request
    ) -> Iterator[tuple[str, str, str]]:
        visitor = _visitor(request, "files")
        with desk.visit(visitor) as stop:
            try:
                yield from desk.invert_rows(visitor, name, first or 0, count, effort, stop)
            except UserError as error:
                yield DRAW.complaint(str(error)), "", ""

    on([file.upload, file.clear], take, file, [look, name])
    on(name.input, look_again, name, look)
    on(start.click, run, [name, first, count, effort], [status, rows, links], **STREAM)


def _or_complaint(function: Callable[..., str], *args: Any) -> str:
    """HTML from a function, or its error as HTML."""
    try:
        return function(*args)
    except UserError as error:
        return str(DRAW.complaint(str(error)))


def _visitor(request: gr.Request, tab: str) -> str:
    """A name for the sender of a request, who may have a search in each tab."""
    return f"{request.session_hash} {tab}"


def _buttons(label: str, desk: Desk, tab: str) -> gr.Button:
    """A start button beside a Stop button that works; returns the first."""
    with gr.Row():
        start, stop = gr.Button(label, variant="primary", scale=3), gr.Button("Stop", scale=1)

    async def end(request: gr.Request) -> None:  # async, as searches may use all threads
        desk.stop(_visitor(request, tab))

    # Gradio's own `cancels` races with the end of a search and sometimes shows "Error".
    on(stop.click, end, queue=False)
    return start


def _own_only(app: ASGIApp) -> ASGIApp:
    """Add the policy to every response."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Content-Security-Policy"] = POLICY
            await send(message)

        await app(scope, receive, sending)

    return answer


def open_page(desk: Desk, host: str, port: int | None) -> tuple[gr.Blocks, str]:
    """Serve the page in a thread. Returns the page, to wait for or close, and its URL."""
    page, style = make_page(desk), Path(__file__).with_name("style.css").read_text("utf-8")
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
            head=f"<style>{style}</style>",  # `css` would drop the rules that Gradio does not know
            app_kwargs={"middleware": [Middleware(_own_only)], "docs_url": None, "redoc_url": None},
        )
    except OSError as error:
        raise UserError(f"{host}: {first_line(error)}") from None
    return page, url


def _theme() -> gr.themes.Base:
    """Gradio's default with the system's fonts and a contrast of at least 4.5 to 1."""
    theme = gr.themes.Default(
        primary_hue="blue", font=["system-ui", "sans-serif"], font_mono=["monospace"]
    )
    fill, text = "button_primary_background_fill", ("*neutral_600", "*neutral_300")
    colours = {fill: ("*primary_700",) * 2, f"{fill}_hover": ("*primary_800",) * 2}
    colours |= {"body_text_color_subdued": text, "block_info_text_color": text}
    light = {name: pair[0] for name, pair in colours.items()}
    return theme.set(**light, **{f"{name}_dark": pair[1] for name, pair in colours.items()})
