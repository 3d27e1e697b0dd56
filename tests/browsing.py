"""The page in a real browser, for its tests and its pictures."""

import re
import shutil
from contextlib import contextmanager

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect, sync_playwright

CHROMIUM = shutil.which("chromium")
PATIENCE = 120_000
"""Milliseconds, for busy machines."""
LOCAL = re.compile(r"http://127\.0\.0\.1:|data:|blob:")


@contextmanager
def browsing():
    """Debian's chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def open_visit(browser, url, requests, **settings):
    """The page as another visitor sees it; the addresses of all requests go into `requests`."""
    page = browser.new_context(**settings).new_page()
    page.set_default_timeout(PATIENCE)
    page.on("request", lambda request: requests.append(request.url))
    page.goto(url)
    page.get_by_role("button", name="Invert", exact=True).wait_for()
    return page


def panel(page, name):
    """A tab, opened by the keyboard."""
    page.get_by_role("tab", name=name).focus()
    page.keyboard.press("Enter")
    found = page.get_by_role("tabpanel").filter(visible=True)
    found.get_by_role("button", name="Stop").wait_for()
    return found


def said(place, words):
    """What stands at a place, once it holds these words."""
    expect(place).to_contain_text(words, timeout=PATIENCE)
    return place.inner_text()


def without_barriers(page):
    """Nothing that axe calls serious, and nothing to be scrolled sideways."""
    found = Axe().run(page).response["violations"]
    grave = {
        v["id"]: [n["html"][:200] for n in v["nodes"]]
        for v in found
        if v["impact"] in ("serious", "critical")
    }
    assert grave == {}
    assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
