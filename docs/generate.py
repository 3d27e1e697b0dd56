"""Writes the table of sources in docs/stores.md: python docs/generate.py"""

import re
from pathlib import Path

from nanov2t.stores.registry import sources_table

PAGE = Path(__file__).with_name("stores.md")


def generated() -> str:
    """What the page should hold."""
    block = re.compile("(?<=<!-- sources -->\n).*?(?=\n<!-- /sources -->)", re.DOTALL)
    return block.sub(lambda _: sources_table(), PAGE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    PAGE.write_text(generated(), encoding="utf-8")
