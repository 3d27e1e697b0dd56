"""A visitor's text, its vector, and what is found for it round by round."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import Event

from nanov2t.core.errors import UserError
from nanov2t.defences import MadeDefence, Setting, make_defence
from nanov2t.embedders.text import reference
from nanov2t.search.options import Effort
from nanov2t.search.state import Inversion, Round
from nanov2t.ui.desk import Desk
from nanov2t.ui.drawing import curve, marked, note, rounds_table, strip
from nanov2t.ui.neighbours import NEAREST, SENTENCES, overlap


@dataclass(frozen=True)
class Strength:
    """The slider of a defence's parameter."""

    low: float
    high: float
    step: float
    usual: float


STRENGTHS: dict[str, Callable[[int], Strength | None]] = {
    "noise": lambda dim: Strength(0, 0.1, 0.002, 0.02),
    "int8": lambda dim: None,
    "bits": lambda dim: None,
    "truncate": lambda dim: Strength(1, dim, 1, dim // 2),
    "mask": lambda dim: Strength(0, 0.95, 0.05, 0.5),
    "rotation": lambda dim: None,
}
"""The defences that the page offers; the slider of each for vectors of a dimension."""


class Attempt:
    """What the page does with a text."""

    def __init__(self, desk: Desk):
        self.desk, self.embedder = desk, desk.inverter.embedder
        self._sentences = self.embedder.encode(SENTENCES)

    def run(
        self, visitor: str, text: str, effort: Effort, defence: str, strength: float
    ) -> Iterator[tuple[str, str, str]]:
        """Embed a text and invert its vector: status, vector and rounds, as HTML, after each round,
        until the search ends or the visitor stops it.

        Raises:
            UserError: the text is empty, or the defence cannot be had.
        """
        with self.desk.visit(visitor) as stop:  # before all else: no Stop comes too early
            yield from self._run(text, effort, defence, strength, stop)

    def cost(self, defence: str, strength: float) -> str:
        """What a defence costs those who search among the vectors, as HTML."""
        made = self._defence(defence, strength)
        if made is None:
            return ""
        kept = overlap(self._sentences, made)
        return note(
            f"{made.spec}: of the {NEAREST} nearest of {len(SENTENCES)} sentences, {kept:.0%} stay "
            f"the same."
        )

    def _run(
        self, text: str, effort: Effort, defence: str, strength: float, stop: Event
    ) -> Iterator[tuple[str, str, str]]:
        seen, cut = self._seen(text)
        vector = self.embedder.encode([seen])[0]
        if made := self._defence(defence, strength):
            vector = made(vector[None])[0]
        drawn = strip(vector)
        said = f"{cut}Searching"
        yield note(f"{said} …"), drawn, ""
        rounds: list[Round] = []
        table = ""
        for item in self.desk.search(vector, effort, stop):
            if isinstance(item, Inversion):
                yield self._verdict(item, seen, cut), drawn, table
                return
            rounds.append(item)
            status = note(f"{said}, round {item.round}, cosine {item.cosine:.4f} …")
            table = rounds_table(rounds, seen) + curve(rounds)
            yield status, drawn, table
        yield note("Stopped."), drawn, table

    def _seen(self, text: str) -> tuple[str, str]:
        """The text as the inverter can write it, and a remark if it had to be cut."""
        if not text.strip():
            raise UserError("the text is empty")
        inverter = self.desk.inverter
        seen = reference(text, inverter.tokenizer, self.embedder, inverter.max_tokens)
        if not seen:
            raise UserError("the text holds nothing that the inverter's tokenizer knows")
        ids = inverter.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        if len(ids) <= inverter.max_tokens:
            return seen, ""
        return seen, f"Only the first {inverter.max_tokens} of {len(ids)} tokens are inverted. "

    def _defence(self, name: str, strength: float) -> MadeDefence | None:
        if name not in STRENGTHS:
            return None
        dim = self.embedder.dim
        spec = name if STRENGTHS[name](dim) is None else f"{name}:{strength:g}"
        return make_defence(spec, Setting(dim, seed=0, public=self._sentences))

    def _verdict(self, found: Inversion, seen: str, cut: str) -> str:
        """What was found, and the text beside it as the embedder sees it."""
        end = {"exact": "Exact", "converged": "Nothing better found", "rounds": "All rounds used"}
        seconds = found.rounds[-1].seconds
        facts = (
            f"{cut}{end[found.stopped]}. Cosine {found.cosine:.6f}, {seconds:.1f} seconds, "
            f"{found.embedder_calls} texts embedded. Words that are right are bold and underlined."
        )
        return f'<p class="nv-found">{marked(found.text, seen)}</p>{note(facts)}'
