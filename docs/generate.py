"""Writes the table of sources in README.md and docs/stores.md: python docs/generate.py"""

import os
import re
import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).parent


def pages() -> dict[Path, str]:
    """What each page should hold."""
    run = [sys.executable, "-m", "nanov2t.stores"]
    utf8 = os.environ | {"PYTHONIOENCODING": "utf-8"}
    table = subprocess.run(run, env=utf8, capture_output=True, check=True).stdout.decode().strip()
    block = re.compile("(?<=<!-- sources -->\n).*?(?=\n<!-- /sources -->)", re.DOTALL)
    paths = (DOCS.parent / "README.md", DOCS / "stores.md")
    return {path: block.sub(lambda _: table, path.read_text(encoding="utf-8")) for path in paths}


if __name__ == "__main__":
    for page, text in pages().items():
        page.write_text(text, encoding="utf-8")
