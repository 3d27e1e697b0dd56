"""The page in a real browser."""

import re
import shutil
import time

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect, sync_playwright

from nanov2t.ui.desk import Desk
from nanov2t.ui.server import open_page

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed")
PATIENCE = 60_000
"""Milliseconds, for busy machines."""
BUSY = 2
"""Seconds that a busy machine may add."""


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def url(tiny):
    page, url = open_page(Desk(tiny, rounds=2, beam=2), "127.0.0.1", None)
    yield url
    page.close()


@pytest.fixture
def visit(browser, url):
    """Opens the page as another visitor; what it asked for from elsewhere fails the test."""
    contexts, elsewhere = [], []

    def open_(address=url, **settings):
        contexts.append(browser.new_context(**settings))
        page = contexts[-1].new_page()
        page.set_default_timeout(PATIENCE)
        page.on("request", lambda request: elsewhere.append(request.url))
        page.goto(address)
        page.get_by_label("Text").wait_for()
        return page

    yield open_
    for context in contexts:
        context.close()
    local = re.compile(r"http://127\.0\.0\.1:|data:|blob:")
    assert elsewhere and [u for u in elsewhere if not local.match(u)] == []


def invert(page, text):
    page.get_by_label("Text").fill(text)
    page.get_by_role("button", name="Invert").click()


def done(page):
    expect(page.locator("#status")).to_contain_text("texts embedded", timeout=PATIENCE)
    return page.locator("#status").inner_text()


def test_a_text_comes_back_as_from_python(visit, tiny):
    page = visit()
    invert(page, "The old ferry")
    said = done(page)
    [found] = tiny.invert(tiny.embedder.encode(["the old ferry"]), rounds=2, beam=2)
    assert page.locator(".nv-found").inner_text() == found.text
    assert float(re.search(r"Cosine (\S+),", said)[1]) == pytest.approx(found.cosine, abs=2e-6)
    shown = page.locator(".nv-rounds tbody tr td:last-child").all_inner_texts()
    assert shown == list(dict.fromkeys(r.text for r in found.rounds))
    assert page.locator(".nv-strip rect").count() == 384


def test_html_stays_text_and_visitors_apart(visit):
    first, second = visit(), visit()
    invert(first, "<img src=x onerror=document.title='taken'>")
    invert(second, "salt and mules")
    done(first), done(second)
    assert first.title() == "nanov2t" and first.locator("#status img, #result img").count() == 0
    assert "salt" not in first.content() and "onerror" not in second.content()


def test_an_empty_text_is_a_complaint(visit):
    page = visit()
    invert(page, " ")
    expect(page.get_by_role("alert")).to_have_text("the text is empty", timeout=PATIENCE)


def test_stop(visit, tiny):
    served, url = open_page(Desk(tiny, rounds=10_000, beam=8), "127.0.0.1", None)
    page = visit(url)
    invert(page, "the old ferry")
    page.locator(".nv-rounds").wait_for()
    page.get_by_role("button", name="Stop").click()
    began = time.monotonic()
    expect(page.locator("#status")).to_have_text("Stopped.", timeout=PATIENCE)
    assert time.monotonic() - began < 1 + BUSY
    shown = page.locator("#result").inner_text()
    time.sleep(1)
    assert page.locator("#result").inner_text() == shown
    served.close()


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (1440, "dark")])
def test_axe_finds_nothing_serious(visit, width, scheme):
    page = visit(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page.keyboard.type("The old ferry")  # the box has the focus
    page.keyboard.press("Enter")
    done(page)
    page.wait_for_timeout(500)  # colours fade in
    found = Axe().run(page).response["violations"]
    grave = {
        v["id"]: [n["html"][:200] for n in v["nodes"]]
        for v in found
        if v["impact"] in ("serious", "critical")
    }
    assert grave == {}
    wide = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    assert wide <= 0
