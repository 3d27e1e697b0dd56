"""The page of the command line is what the commands say of themselves."""

import importlib.util
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_of_the_command_line_is_current():
    spec = importlib.util.spec_from_file_location("docs_help", DOCS / "help.py")
    writer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(writer)
    assert writer.PAGE.read_text(encoding="utf-8") == writer.page(), "run: python docs/help.py"
