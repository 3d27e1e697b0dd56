"""Takes docs/img/*.png, pictures of the page: PYTHONPATH=tests python docs/screenshots.py"""

import os
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from browsing import browsing, open_visit, panel, said

IMG = Path(__file__).with_name("img")
TEXT = "My father repairs old clocks."
ROWS = (
    "She moved to London to study medicine.",
    "The door code is 4471.",
    "We meet at noon by the bridge.",
)


def take(page, name):
    page.mouse.move(0, 0)
    page.evaluate("document.activeElement.blur()")
    page.wait_for_timeout(500)  # colours fade
    page.screenshot(path=IMG / f"{name}.png", full_page=True)


def try_it(page, name):
    page.locator("#text").get_by_label("Text").fill(TEXT)
    page.keyboard.press("Enter")
    said(page.locator("#status"), "texts embedded")
    take(page, name)


def bring_vectors(page, file):
    tab = panel(page, "Your vectors")
    tab.locator("input[type=file]").set_input_files(file)
    said(page.locator("#look"), f"{len(ROWS)} vectors")
    tab.get_by_role("button", name="Invert rows").click()
    said(page.locator("#progress"), f"{len(ROWS)} rows are done")
    take(page, "ui-vectors")


def main():
    from nanov2t import load_inverter
    from nanov2t.pretrained import DEFAULT
    from nanov2t.search.options import SearchOptions
    from nanov2t.ui.desk import Desk
    from nanov2t.ui.server import open_page

    inverter = load_inverter(DEFAULT)
    served, url = open_page(Desk(inverter, SearchOptions()), "127.0.0.1", None)
    with tempfile.TemporaryDirectory() as folder, browsing() as browser:
        file = Path(folder) / "notes.parquet"
        vectors = inverter.embedder.encode(list(ROWS)).tolist()
        pq.write_table(pa.table({"id": range(len(ROWS)), "embedding": vectors}), file)
        page = open_visit(browser, url, [], viewport={"width": 1000, "height": 800})
        try_it(page, "ui")
        bring_vectors(page, file)
        narrow = {"viewport": {"width": 360, "height": 800}, "color_scheme": "dark"}
        try_it(open_visit(browser, url, [], **narrow), "ui-narrow")
    served.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as uploads:
        os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": uploads}
        main()
