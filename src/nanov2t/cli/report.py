"""What the commands print: a live table of rounds, a word diff, JSON lines, a table of figures."""

from __future__ import annotations

from typing import Any

import numpy as np
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from nanov2t.evaluation.metrics import word_diff
from nanov2t.inverter import Inverter
from nanov2t.search.state import Inversion, Round


def diff_line(text: str, reference: str, colour: bool) -> Text:
    """The recovered text against the original: recovered words green, missed ones red, invented
    ones struck out. Without colour as `git diff --word-diff`: [-missed-] {+invented+}."""
    missed, invented = ("{} ", "{} ") if colour else ("[-{}-] ", "{{+{}+}} ")
    line = Text()
    for right, theirs, ours in word_diff(reference, text):
        if right:
            line.append(f"{ours} ", style="green")
            continue
        if theirs:
            line.append(missed.format(theirs), style="bold red")
        if ours:
            line.append(invented.format(ours), style="dim strike")
    return line


def show_inversion(
    inverter: Inverter,
    vector: np.ndarray,
    reference: str | None,
    console: Console,
) -> None:
    """Invert one vector [dim] and show the rounds as they end, then the diff with the reference if
    there is one."""
    table = _table("round", "cosine")
    table.add_column("best hypothesis")
    shown: list[str] = []

    def add(_: int, best: Round) -> None:
        if best.text not in shown[-1:]:  # something better was found
            shown.append(best.text)
            table.add_row(str(best.round), f"{best.cosine:.4f}", best.text)
            live.refresh()

    with Live(table, console=console, auto_refresh=False) as live:
        [found] = inverter.invert(vector[None], on_round=add)
        cosine = f"{found.cosine:.4f} (1 - {1 - found.cosine:.1e})"  # a rounded 1.0 hides all
        unseen = f", apart from {found.unseen} tokens that the embedder cannot read"
        facts = f"cosine {cosine}, {found.embedder_calls} texts embedded"
        facts = f"{found.stopped}{unseen if found.unseen else ''}, {facts}"
        lines = [Text(facts, style="dim")]
        if reference is not None:
            colour = console.color_system is not None and not console.no_color
            diff = diff_line(found.text, reference, colour)
            lines.insert(0, Text("recovered ", style="dim") + diff)
        live.update(Group(table, "", *lines, ""), refresh=True)


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
    scores = {"BLEU": "bleu", "token F1": "token_f1", "exact match": "exact_match"}
    table = _table("round", *scores, "1 - cosine", "seconds", "embedder calls")
    table.title, table.title_justify = f"n = {result['n']}", "left"
    for row in result["rounds"]:
        values = [f"{row[key]:.1f}" for key in scores.values()] + [f"{1 - row['cosine']:.4f}"]
        seconds, calls = f"{row['seconds']:.1f}", str(row["embedder_calls"])
        table.add_row(str(row["round"]), *values, seconds, calls)
    ends = [result[key]["ci95"] for key in scores.values()]
    low, high = result["cosine"]["ci95"]
    intervals = [f"{a:.1f}-{b:.1f}" for a, b in ends] + [f"{1 - high:.4f}-{1 - low:.4f}"]
    table.add_row("95 %", *intervals, "", "", style="dim")
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for column in columns:
        table.add_column(column, justify="right")
    return table
