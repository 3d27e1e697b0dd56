"""What a person sees on a terminal."""

import io

from rich.console import Console

from nanov2t.cli.report import diff_line, show_inversion
from nanov2t.inverter import Inverter
from nanov2t.load import EngineNetworks
from nanov2t.search.options import SearchOptions


def test_a_terminal_shows_rounds_and_a_diff(tiny, minilm):
    console = Console(record=True, width=100, file=io.StringIO())
    short = tiny.with_options(rounds=1, beam=2)
    show_inversion(short, minilm.encode(["hello world"])[0], "hello world", console)
    text = console.export_text()
    assert "best hypothesis" in text and "hello world" in text and "texts embedded" in text
    assert diff_line("a c d", "a b d", colour=True).plain.split() == ["a", "b", "c", "d"]
    assert diff_line("a c d", "a b d", colour=False).plain == "a [-b-] {+c+} d "


def test_a_terminal_shows_the_rounds_that_gained(bundled, minilm):
    stalling = EngineNetworks(minilm, bundled.dictionary)
    alone = Inverter(stalling, SearchOptions(rounds=12, beam=1))
    [vector], rounds = minilm.encode(["call me at 555 - 0147"]), []
    alone.invert(vector[None], on_round=lambda _, best: rounds.append(best))
    gained = [
        r.round for i, r in enumerate(rounds) if not i or r.cosine > rounds[i - 1].cosine + 1e-9
    ]
    console = Console(record=True, width=100, file=io.StringIO())
    show_inversion(alone, vector, None, console)
    lines = console.export_text().splitlines()
    shown = [int(line.split()[0]) for line in lines if line.split() and line.split()[0].isdigit()]
    assert shown == gained and 1 < len(gained) < len(rounds)
