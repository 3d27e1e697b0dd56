"""Writes docs/cli.md, the help of every command, from the code: python docs/help.py"""

import os
import subprocess
import sys
from pathlib import Path

COMMANDS = ("", "invert", "evaluate", "train", "export", "convert")
PAGE = Path(__file__).with_name("cli.md")
HEAD = """# The command line

This page is what the commands say of themselves. `python docs/help.py` writes it, and a test checks
that it is current.
"""


def help_of(command: str) -> str:
    """What `nanov2t COMMAND --help` prints on a terminal of 100 columns without colours."""
    fixed = os.environ | {"COLUMNS": "100", "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8"}
    said = subprocess.run(
        [sys.executable, "-m", "nanov2t", *command.split(), "--help"],
        env=fixed,
        capture_output=True,
        check=True,
    ).stdout.decode()
    return "\n".join(line.rstrip() for line in said.splitlines()).strip()


def page() -> str:
    """The whole page."""
    sections = [HEAD]
    for command in COMMANDS:
        title = f"nanov2t {command}".strip()
        sections.append(f"## {title}\n\n```text\n{help_of(command)}\n```\n")
    return "\n".join(sections)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
