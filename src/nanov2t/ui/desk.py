"""What the page does for its visitors: searches for the texts of vectors, attempts on texts with
defences, and the inversion of uploaded files."""

import base64
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from queue import Empty, Queue
from threading import Event, Lock, Thread
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jinja2 import Environment

from nanov2t.bulk import as_table, cells_of, look_at
from nanov2t.core.errors import UserError
from nanov2t.core.vectors import unit
from nanov2t.defences import DEFENCES, MadeDefence, Setting, make_defence
from nanov2t.embedders.text import reference
from nanov2t.evaluation.metrics import word_diff
from nanov2t.inverter import Inverter
from nanov2t.search.options import Effort
from nanov2t.search.state import Inversion, Round
from nanov2t.stores.registry import names_in, open_source
from nanov2t.stores.values import Choice
from nanov2t.targets import Defence

STRENGTHS: dict[str, Callable[[int], Sequence[float]]] = {
    "noise": lambda dim: (0.005, 0.01, 0.02, 0.05, 0.1),
    "pq": lambda dim: [dim // i for i in (32, 16, 8, 4, 2) if dim % i == 0],
    "truncate": lambda dim: [dim // i for i in (16, 8, 4, 2)],
    "mask": lambda dim: (0.1, 0.25, 0.5, 0.75, 0.9),
    "scale": lambda dim: (-2.6, -1, 2),
}  # the parameters of defences that the page offers for vectors of a dimension
# Public sentences, to measure what a defence costs in retrieval.
SENTENCES = Path(__file__).with_name("sentences.txt").read_text(encoding="utf-8").splitlines()
_templates = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
_templates.globals["word_diff"] = word_diff
_drawing = Path(__file__).with_name("drawing.html").read_text(encoding="utf-8")
DRAW: Any = _templates.from_string(_drawing).module
"""The macros of drawing.html, which escape every text of a visitor."""
NEAREST = 10
LOOK = 0.2  # seconds between two checks of whether a visitor has pressed Stop


class Desk:
    """Runs the searches of visitors, one at a time. Keeps nothing of them but the last file that
    each uploaded."""

    def __init__(self, inverter: Inverter):
        self.inverter = inverter
        self._busy = Lock()
        self._stops: dict[str, Event] = {}
        self._files: dict[str, tuple[Path, Path]] = {}  # of a visitor, and of all who uploaded it

    @contextmanager
    def visit(self, visitor: str) -> Iterator[Event]:
        """The event that :meth:`stop` sets for this visitor until the block ends."""
        stop = self._stops[visitor] = Event()
        try:
            yield stop
        finally:
            if self._stops.get(visitor) is stop:
                del self._stops[visitor]

    def search(
        self, vector: np.ndarray, effort: Effort, stop: Event
    ) -> Iterator[Round | Inversion]:
        """Invert a vector [dim]: yield each round as it ends, and the inversion last. Ends early if
        `stop` is set or this iterator is closed. Errors as of :meth:`Inverter.invert`."""
        found: Queue[Round | Inversion | Exception] = Queue()
        closed = Event()

        def on_round(_: int, best: Round | None) -> None:
            if stop.is_set() or closed.is_set():
                raise CancelledError
            if best:
                found.put(best)

        def work() -> None:
            try:
                with self._busy:
                    on_round(0, None)  # stopped while it waited for another visitor's search?
                    [inversion] = self.inverter.invert(
                        vector[None], on_round=on_round, effort=effort
                    )
                    found.put(inversion)
            except CancelledError:
                pass
            except Exception as error:  # raised again in the thread of the page
                found.put(error)

        Thread(target=work, daemon=True).start()
        try:
            while not stop.is_set():
                try:
                    item = found.get(timeout=LOOK)
                except Empty:
                    continue
                if isinstance(item, Exception):
                    raise item
                yield item
                if isinstance(item, Inversion):
                    return
        finally:
            closed.set()

    def stop(self, visitor: str) -> None:
        """End a visitor's search. The page answers at once; the round still ends."""
        if running := self._stops.get(visitor):
            running.set()

    def close(self) -> None:
        """End all searches, and wait until the processor is free."""
        for running in list(self._stops.values()):
            running.set()
        with self._busy:
            pass

    def prepare(
        self, text: str, defence: str = "none", strength: float | None = None
    ) -> tuple[np.ndarray, str, str]:
        """Cut a text to what the inverter can write, embed it and defend the vector. Returns the
        vector [dim], the cut text, and what the visitor should know."""
        if not text.strip():
            raise UserError("the text is empty")
        tokenizer, limit = self.inverter.tokenizer, self.inverter.max_tokens
        count = len(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
        remark = f"Only the first {limit} of {count} tokens are inverted. " if count > limit else ""
        seen = reference(text, tokenizer, self.inverter.embedder, limit)
        if not seen:
            raise UserError("the text holds nothing that the inverter's tokenizer knows")
        defend = self._defence(defence, strength) or np.copy
        [vector] = defend(self.inverter.embedder.encode([seen]))
        return vector, seen, remark

    def attempt(
        self, vector: np.ndarray, seen: str, remark: str, effort: Effort, stop: Event
    ) -> Iterator[tuple[str, str]]:
        """Invert a vector: yield the status and the rounds as HTML after each round."""
        yield DRAW.note(f"{remark}Searching …"), ""
        rounds: list[Round] = []
        table = ""
        for item in self.search(vector, effort, stop):
            if isinstance(item, Inversion):
                yield DRAW.verdict(item, seen, remark), table
                return
            rounds.append(item)
            table = DRAW.rounds(rounds, seen)
            said = f"{remark}Searching, round {item.round}, cosine {item.cosine:.4f} …"
            yield DRAW.note(said), table
        yield DRAW.note("Stopped."), table

    def cost(self, defence: str, strength: float | None) -> str:
        """What a defence costs in retrieval, as HTML."""
        made = self._defence(defence, strength)
        if made is None:
            return ""
        nearest = f"of the {NEAREST} nearest of {len(SENTENCES)} sentences"
        kept = overlap(self._sentences, made)
        return str(DRAW.note(f"{made.spec}: {nearest}, {kept:.0%} stay the same."))

    @cached_property
    def _sentences(self) -> np.ndarray:
        return self.inverter.embedder.encode(SENTENCES)

    def _defence(self, name: str, strength: float | None) -> MadeDefence | None:
        if name not in DEFENCES:
            return None
        spec = name if strength is None else f"{name}:{strength:g}"
        setting = Setting(self.inverter.embedder.dim, seed=0, public=self._sentences)
        return make_defence(spec, setting)

    def keep(self, visitor: str, path: Path) -> None:
        """Keep a file for one visitor. The server gives one path to all who upload the same
        file."""
        ours = Path(tempfile.mkdtemp(dir=path.parent.parent)) / path.name
        os.link(path, ours)
        self.forget(visitor)
        self._files[visitor] = ours, path

    def forget(self, visitor: str) -> None:
        """Delete the visitor's file if there is one."""
        for path in self._files.pop(visitor, ()):
            shutil.rmtree(path.parent, ignore_errors=True)

    def look(self, visitor: str, name: str | None = None) -> tuple[str, list[str], str | None]:
        """Describe the visitor's file, as HTML. Also returns the columns or keys of its vectors,
        and the one in use, or None if the visitor must choose."""
        with self._file(visitor) as path:
            try:
                source = open_source(f"{path}#{name}" if name else str(path))
            except Choice as choice:
                if name:
                    raise
                return DRAW.note(_said(choice, path)), choice.names, None
            said = f"{_said(source.name, path)}: {', '.join(look_at(source, self.inverter))}"
            chosen = source.name.removeprefix(str(path)).removeprefix("#")
            return DRAW.note(said), names_in(path), chosen

    def invert_rows(
        self, visitor: str, name: str | None, first: int, count: int, effort: Effort, stop: Event
    ) -> Iterator[tuple[str, str, str]]:
        """Invert up to `count` rows of the visitor's file from row `first` on. After each round,
        yield the status, the rows and the downloads as HTML."""
        with self._file(visitor) as path:
            source = open_source(f"{path}#{name}" if name else str(path))
            look_at(source, self.inverter)
            if not 0 <= first < source.count:
                raise UserError(f"{source.name}: has no row {first}, only {source.count:,} rows")
            rows = source.read(first, min(first + count, source.count))
        done: list[dict[str, Any]] = []
        shown = "", ""
        for i, id_ in enumerate(rows.ids):
            cells: dict[str, Any] = {"id": id_, "error": rows.errors.get(i)}
            said = f"Row {i + 1} of {len(rows.ids)}"
            yield DRAW.progress(i, len(rows.ids), f"{said} …"), *shown
            searching = [] if i in rows.errors else self.search(rows.vectors[i], effort, stop)
            for item in searching:
                if isinstance(item, Inversion):
                    cells |= cells_of(item)
                else:
                    status = f"{said}, round {item.round}, cosine {item.cosine:.4f} …"
                    yield DRAW.progress(i, len(rows.ids), status), *shown
            if stop.is_set() and "inverted" not in cells:
                break
            done.append(cells)
            shown = DRAW.rows(done), _downloads(as_table(done, source.integer_ids))
        exact = sum(cells.get("stopped") == "exact" for cells in done)
        end = "Stopped. " if stop.is_set() else ""
        yield DRAW.note(f"{end}{len(done)} rows are done, {exact} of them exact."), *shown

    @contextmanager
    def _file(self, visitor: str) -> Iterator[Path]:
        """The visitor's file. Errors in the block name the file without its folder."""
        if visitor not in self._files:
            raise UserError("no file yet")
        path, _ = self._files[visitor]
        try:
            yield path
        except UserError as error:
            raise UserError(_said(error, path)) from None


def strip(vector: np.ndarray) -> str:
    """A vector [dim] as a strip of cells, as HTML."""
    strength = (np.abs(vector) / max(float(np.abs(vector).max()), 1e-12)).round(1)
    shades: dict[tuple[str, float], list[int]] = {}
    for i, (x, shade) in enumerate(zip(vector.tolist(), strength.tolist(), strict=True)):
        shades.setdefault(("above" if x > 0 else "below", round(shade, 1)), []).append(i)
    return str(DRAW.strip(len(vector), shades))


def overlap(vectors: np.ndarray, defence: Defence) -> float:
    """The mean share of each vector's ten nearest neighbours by cosine that a defence keeps."""
    nearest = []
    for rows in (vectors, defence(vectors)):
        similar = unit(rows) @ unit(rows).T
        np.fill_diagonal(similar, -np.inf)
        nearest.append(np.argsort(-similar, axis=1, kind="stable")[:, :NEAREST])
    shared = [len(np.intersect1d(*pair)) for pair in zip(*nearest, strict=True)]
    return float(np.mean(shared)) / NEAREST


def _said(what: UserError | str, path: Path) -> str:
    """A message without the file's folder, which the visitor does not know."""
    return str(what).replace(f"{path.parent}{os.sep}", "")


def _downloads(table: pa.Table) -> str:
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer)
    text = json.dumps(table.to_pylist(), ensure_ascii=False, indent=2)
    files = (
        ("inverted.parquet", "application/vnd.apache.parquet", buffer.getvalue()),
        ("inverted.json", "application/json", text.encode()),
    )
    return "".join(DRAW.download(a, b, base64.b64encode(c).decode()) for a, b, c in files)
