"""What the commands print: a live table of rounds, a word diff, JSON lines, a table of figures."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    import numpy as np

    from nanov2t.inverter import Inverter
    from nanov2t.search.options import SearchOptions
    from nanov2t.search.state import Inversion, Round


def word_diff(text: str, reference: str, colour: bool) -> Text:
    """The recovered text against the original. In colour, recovered words are green, missed ones
    red and invented ones struck out. Without, as `git diff --word-diff`: [-missed-] {+invented+}.
    """
    missed, invented = ("{}", "{}") if colour else ("[-{}-]", "{{+{}+}}")
    ours, theirs = text.split(), reference.split()
    line = Text()
    matcher = difflib.SequenceMatcher(None, theirs, ours, autojunk=False)
    for kind, a, b, c, d in matcher.get_opcodes():
        if kind == "equal":
            line.append(" ".join(theirs[a:b]) + " ", style="green")
            continue
        if b > a:
            line.append(missed.format(" ".join(theirs[a:b])) + " ", style="bold red")
        if d > c:
            line.append(invented.format(" ".join(ours[c:d])) + " ", style="dim strike")
    return line


def show_inversion(
    inverter: Inverter,
    vector: np.ndarray,
    reference: str | None,
    options: SearchOptions,
    console: Console,
) -> None:
    """Invert one vector [dim] and show the rounds as they end, then the diff with the reference if
    there is one."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("round", "cosine"):
        table.add_column(column, justify="right")
    table.add_column("best hypothesis")
    shown: list[str] = []

    def add(_: int, best: Round) -> None:
        if shown and best.text == shown[-1]:
            return  # nothing better was found
        shown.append(best.text)
        table.add_row(str(best.round), f"{best.cosine:.4f}", best.text)
        live.refresh()

    with Live(table, console=console, auto_refresh=False) as live:
        [found] = inverter.invert(vector[None], options.rounds, options.beam, on_round=add)
        live.update(Group(table, "", _verdict(found, reference, console), ""), refresh=True)


def _verdict(found: Inversion, reference: str | None, console: Console) -> Group:
    cosine = f"{found.cosine:.4f} (1 - {1 - found.cosine:.1e})"  # a rounded 1.0 hides everything
    stopped: str = found.stopped
    if found.unseen:
        stopped += f", apart from {found.unseen} tokens that the embedder cannot read"
    facts = Text(f"{stopped}, cosine {cosine}, {found.embedder_calls} texts embedded", style="dim")
    if reference is None:
        return Group(facts)
    colour = console.color_system is not None and not console.no_color
    diff = word_diff(found.text, reference, colour)
    return Group(Text("recovered ", style="dim") + diff, facts)


def in_order(found: Iterable[tuple[int, Inversion]]) -> Iterator[Inversion]:
    """Sort a stream of inversions by position. Each comes out as soon as all before it are done."""
    waiting: dict[int, Inversion] = {}
    following = 0
    for i, inversion in found:
        waiting[i] = inversion
        while following in waiting:
            yield waiting.pop(following)
            following += 1


def as_json(found: Inversion) -> dict[str, Any]:
    """An inversion as `invert --json` prints it."""
    return {
        "inverted": found.text,
        "cosine": found.cosine,
        "stopped": found.stopped,
        "embedder_calls": found.embedder_calls,
        "unseen_tokens": found.unseen,
        "rounds": [{"round": r.round, "text": r.text, "cosine": r.cosine} for r in found.rounds],
    }


def figures(result: dict[str, Any]) -> Table:
    """The table that `evaluate` prints: a row for each round, then the 95 % intervals."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.title, table.title_justify = f"n = {result['n']}", "left"
    scores = {"BLEU": "bleu", "token F1": "token_f1", "exact match": "exact_match"}
    for column in ("round", *scores, "1 - cosine", "seconds", "embedder calls"):
        table.add_column(column, justify="right")
    for row in result["rounds"]:
        table.add_row(
            str(row["round"]),
            *(f"{row[key]:.1f}" for key in scores.values()),
            f"{1 - row['cosine']:.4f}",
            f"{row['seconds']:.1f}",
            str(row["embedder_calls"]),
        )
    ends = [result[key]["ci95"] for key in scores.values()]
    low, high = result["cosine"]["ci95"]
    intervals = [f"{a:.1f}-{b:.1f}" for a, b in ends] + [f"{1 - high:.4f}-{1 - low:.4f}"]
    table.add_row("95 %", *intervals, "", "", style="dim")
    return table
