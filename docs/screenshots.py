"""Takes docs/img/ui.png, a picture of the page: PYTHONPATH=tests python docs/screenshots.py"""

import os
import tempfile
from pathlib import Path

from browsing import browsing, open_visit, said

PICTURE = Path(__file__).parent / "img" / "ui.png"
TEXT = "My father repairs old clocks."


def main():
    from nanov2t import load_inverter
    from nanov2t.pretrained import DEFAULT
    from nanov2t.ui.desk import Desk
    from nanov2t.ui.page import open_page

    served, url = open_page(Desk(load_inverter(DEFAULT)), "127.0.0.1", None)
    with browsing() as browser:
        page = open_visit(browser, url, [], viewport={"width": 1000, "height": 800})
        page.locator("#text").get_by_label("Text").fill(TEXT)
        page.keyboard.press("Enter")
        said(page.locator("#status"), "texts embedded")
        page.mouse.move(0, 0)
        page.evaluate("document.activeElement.blur()")
        page.wait_for_timeout(500)  # colours fade
        page.screenshot(path=PICTURE, full_page=True)
    served.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as uploads:
        os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": uploads}
        main()
