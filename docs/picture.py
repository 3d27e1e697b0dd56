"""Draws docs/run.svg from a real run: python docs/picture.py"""

import io
from pathlib import Path

from rich.console import Console
from rich.text import Text

from nanov2t import load_inverter
from nanov2t.cli.report import show_inversion
from nanov2t.embedders.text import reference
from nanov2t.pretrained import DEFAULT

TEXTS = (
    "She moved to London to study medicine.",
    "The river rises in the hills and flows north into the sea.",
)

if __name__ == "__main__":
    console = Console(record=True, width=110, file=io.StringIO())
    inverter = load_inverter(DEFAULT)
    for text in TEXTS:
        console.print(Text(f'$ nanov2t invert "{text}"', style="bold"))
        seen = reference(text, inverter.tokenizer, inverter.embedder, inverter.max_tokens)
        [vector] = inverter.embedder.encode([seen])
        show_inversion(inverter, vector, seen, console)
    Path(__file__).with_name("run.svg").write_text(
        console.export_svg(title="nanov2t"), encoding="utf-8"
    )
