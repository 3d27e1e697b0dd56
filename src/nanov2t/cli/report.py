"""What a person sees on a terminal: the live table of rounds, the word diff, the table of
figures."""

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
    from nanov2t.search.state import Inversion, Round


def in_colour(console: Console) -> bool:
    """Whether a console shows colours: it is a terminal, and NO_COLOR is not set."""
    return console.color_system is not None and not console.no_color


def word_diff(text: str, reference: str, colour: bool) -> Text:
    """The recovered text against the original: recovered words green, missed words red, invented
    ones struck out; without colour as `git diff --word-diff` writes them, [-missed-]
    {+invented+}."""
    missed, invented = ("{}", "{}") if colour else ("[-{}-]", "{{+{}+}}")
    ours, theirs = text.split(), reference.split()
    line = Text()
    for kind, a, b, c, d in difflib.SequenceMatcher(
        None, theirs, ours, autojunk=False
    ).get_opcodes():
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
    rounds: int | None,
    beam: int,
    console: Console,
) -> None:
    """Invert one vector [dim] before the reader's eyes, then compare with the reference where there
    is one."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("round", "cosine", "best hypothesis"):
        table.add_column(
            column, justify="left" if column.startswith("best") else "right", vertical="top"
        )

    shown: list[str] = []

    def add(_: int, best: Round) -> None:
        if shown and best.text == shown[-1]:
            return  # a round that found nothing better
        shown.append(best.text)
        table.add_row(str(best.round), f"{best.cosine:.4f}", best.text)
        live.refresh()

    with Live(table, console=console, auto_refresh=False) as live:
        [found] = inverter.invert(vector[None], rounds, beam, on_round=add)
        live.update(
            Group(table, "", _verdict(found, reference, in_colour(console)), ""), refresh=True
        )


def _verdict(found: Inversion, reference: str | None, colour: bool) -> Group:
    cosine = f"{found.cosine:.4f} (1 - {1 - found.cosine:.1e})"  # a rounded 1.0 hides everything
    stopped: str = found.stopped
    if found.unseen:
        stopped += f", apart from {found.unseen} tokens that the embedder cannot read"
    facts = Text(f"{stopped}, cosine {cosine}, {found.embedder_calls} texts embedded", style="dim")
    if reference is None:
        return Group(facts)
    diff = word_diff(found.text, reference, colour)
    return Group(Text("recovered ", style="dim") + diff, facts)


def in_order(found: Iterable[tuple[int, Inversion]]) -> Iterator[tuple[int, Inversion]]:
    """Positions and inversions in the order of the positions, each as soon as it may come."""
    waiting: dict[int, Inversion] = {}
    following = 0
    for i, inversion in found:
        waiting[i] = inversion
        while following in waiting:
            yield following, waiting.pop(following)
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
    """The table that `nanov2t evaluate` prints: a row a round, the intervals last."""
    table = Table(
        title=f"n = {result['n']}",
        title_justify="left",
        box=None,
        padding=(0, 2, 0, 0),
        header_style="dim",
    )
    for column in (
        "round",
        "BLEU",
        "token F1",
        "exact match",
        "1 - cosine",
        "seconds",
        "embedder calls",
    ):
        table.add_column(column, justify="right")
    for row in result["rounds"]:
        table.add_row(
            str(row["round"]),
            f"{row['bleu']:.1f}",
            f"{row['token_f1']:.1f}",
            f"{row['exact_match']:.1f}",
            f"{1 - row['cosine']:.4f}",
            f"{row['seconds']:.1f}",
            str(row["embedder_calls"]),
        )
    ends = [result[key]["ci95"] for key in ("bleu", "token_f1", "exact_match")]
    low, high = result["cosine"]["ci95"]
    table.add_row(
        "95 %",
        *(f"{a:.1f}-{b:.1f}" for a, b in ends),
        f"{1 - high:.4f}-{1 - low:.4f}",
        "",
        "",
        style="dim",
    )
    return table
