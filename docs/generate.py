"""Writes what the documents take from the code: python docs/generate.py

docs/cli.md, the help of every command; and the table of sources in README.md and docs/stores.md.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).parent
COMMANDS = (
    "",
    "invert",
    "interpolate",
    "words",
    "evaluate",
    "audit",
    "study",
    "train",
    "draft",
    "export",
    "convert",
    "push",
    "ui",
)
HEAD = """# The command line

This page is what the commands say of themselves. `python docs/generate.py` writes it, and a test
checks that it is current.
"""


def pages() -> dict[Path, str]:
    """What each page should hold."""
    sections = [HEAD]
    for command in COMMANDS:
        title = f"nanov2t {command}".strip()
        said = printed("nanov2t", *command.split(), "--help")
        sections.append(f"## {title}\n\n```text\n{said}\n```\n")
    table = printed("nanov2t.stores")
    block = re.compile("(?<=<!-- sources -->\n).*?(?=\n<!-- /sources -->)", re.DOTALL)
    with_table = (DOCS.parent / "README.md", DOCS / "stores.md")
    return {DOCS / "cli.md": "\n".join(sections)} | {
        page: block.sub(lambda _: table, page.read_text(encoding="utf-8")) for page in with_table
    }


def printed(*module: str) -> str:
    """What a module prints on a terminal of 100 columns without colours."""
    fixed = os.environ | {"COLUMNS": "100", "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8"}
    said = subprocess.run(
        [sys.executable, "-m", *module], env=fixed, capture_output=True, check=True
    ).stdout.decode()
    return "\n".join(line.rstrip() for line in said.splitlines()).strip()


if __name__ == "__main__":
    for page, text in pages().items():
        page.write_text(text, encoding="utf-8")
