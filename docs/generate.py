"""Writes the table of sources in docs/stores.md: python docs/generate.py"""

import re
from pathlib import Path

from nanov2t.stores.registry import STORES

PAGE = Path(__file__).with_name("stores.md")


def sources_table() -> str:
    """The forms, extras and ids of all stores."""
    forms: dict[str, list[str]] = {}
    for store in STORES:
        needs = f"`pip install '.[{store.extra}]'` " if store.extra else ""
        ids = f"`--ids COLUMN`, or {store.own_ids}" if store.takes_ids else store.own_ids
        forms.setdefault(f"{needs}| {ids}", []).extend(f"`{form}`" for form in store.forms)
    rows = [f"| {', '.join(alike)} | {others} |" for others, alike in forms.items()]
    return "\n".join(["| SOURCE | needs | ids |", "|---|---|---|", *rows])


def generated() -> str:
    """What the page should hold."""
    block = re.compile("(?<=<!-- sources -->\n).*?(?=\n<!-- /sources -->)", re.DOTALL)
    return block.sub(lambda _: sources_table(), PAGE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    PAGE.write_text(generated(), encoding="utf-8")
