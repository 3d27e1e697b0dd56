"""Writes the table of sources in README.md and docs/stores.md: python docs/generate.py"""

import re
from pathlib import Path

from nanov2t.stores.registry import sources_table

DOCS = Path(__file__).parent


def pages() -> dict[Path, str]:
    """What each page should hold."""
    block = re.compile("(?<=<!-- sources -->\n).*?(?=\n<!-- /sources -->)", re.DOTALL)
    table = sources_table()
    paths = (DOCS.parent / "README.md", DOCS / "stores.md")
    return {path: block.sub(lambda _: table, path.read_text(encoding="utf-8")) for path in paths}


if __name__ == "__main__":
    for page, text in pages().items():
        page.write_text(text, encoding="utf-8")
