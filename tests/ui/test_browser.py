"""The page in a real browser."""

import json
import re
import time

import numpy as np
import pyarrow.parquet as pq
import pytest
from browsing import CHROMIUM, PATIENCE, panel, said, without_barriers
from playwright.sync_api import expect

from nanov2t import load_inverter
from nanov2t.pretrained import DEFAULT
from nanov2t.ui.desk import Desk
from nanov2t.ui.page import open_page

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed")
BUSY = 2
"""Seconds that a busy machine may add."""

LONG = (
    "the old ferry crosses the river twice a day, with salt and mules for the villages of the far "
    "bank, and comes back with timber, wool and whoever wants to see the town"
)


def invert(page, text):
    page.locator("#text").get_by_label("Text").fill(text)
    page.get_by_role("button", name="Invert", exact=True).click()


def done(page):
    return said(page.locator("#status"), "texts embedded")


def test_a_text_comes_back_as_from_python(visit, tiny):
    page = visit()
    invert(page, " ")
    expect(page.get_by_role("alert")).to_have_text("the text is empty", timeout=PATIENCE)
    invert(page, "The old ferry")
    status = done(page)
    [found] = tiny.invert(tiny.embedder.encode(["the old ferry"]), rounds=2, beam=2)
    assert page.locator(".nv-found").inner_text() == found.text
    assert float(re.search(r"Cosine (\S+),", status)[1]) == pytest.approx(found.cosine, abs=2e-6)
    shown = page.locator("#result .nv-text").all_inner_texts()
    assert shown == list(dict.fromkeys(r.text for r in found.rounds))
    assert page.locator(".nv-strip").inner_html().count("h1v1") == 384


def test_html_stays_text_and_visitors_apart(visit):
    first, second = visit(), visit()
    invert(first, "<img src=x onerror=document.title='taken'>")
    invert(second, "salt and mules")
    done(first), done(second)
    assert first.title() == "nanov2t" and first.locator("#status img, #result img").count() == 0
    assert "salt" not in first.content() and "onerror" not in second.content()


def test_stop(visit):
    inverter = load_inverter(DEFAULT, effort="thorough")
    served, url = open_page(Desk(inverter), "127.0.0.1", None)
    page = visit(url)
    invert(page, LONG)
    page.locator("#result .nv-table").wait_for()
    page.get_by_role("button", name="Stop").first.click()
    began = time.monotonic()
    expect(page.locator("#status")).to_have_text("Stopped.", timeout=PATIENCE)
    assert time.monotonic() - began < 1 + BUSY
    shown = page.locator("#result").inner_text()
    time.sleep(1)
    assert page.locator("#result").inner_text() == shown
    served.close()


def test_a_file_is_inverted_and_deleted(visit, tiny, uploads, tmp_path, command):
    broken, whole = tmp_path / "broken.csv", tmp_path / "whole.npz"
    broken.write_text("id,<img src=x>\n1,a\n")
    vectors = tiny.embedder.encode(["the old ferry", "salt and mules"])
    np.savez(whole, first=vectors[:1], second=np.stack([*vectors, 0 * vectors[0]]))
    page = visit()
    tab = panel(page, "Your vectors")
    tab.locator("input[type=file]").set_input_files(broken)
    code, _, error = command("invert", "--vectors", broken)
    line = error.strip().removeprefix("nanov2t: ").replace(f"{tmp_path}/", "")
    assert said(tab.get_by_role("alert"), "broken.csv: ") == line and code == 2

    tab.get_by_label("Clear").click()
    tab.locator("input[type=file]").set_input_files(whole)
    said(page.locator("#look"), "Choose one after a #: first, second")
    tab.get_by_label("Column or key").click()
    tab.get_by_role("option", name="second").click()
    said(page.locator("#look"), "whole.npz#second: 3 vectors, 384 dimensions")
    tab.get_by_label("First row").fill("1")
    tab.get_by_role("button", name="Invert rows").click()
    said(page.locator("#progress"), "2 rows are done")
    for name in ("inverted.parquet", "inverted.json"):
        with page.expect_download() as download:
            tab.get_by_role("link", name=name).click()
        download.value.save_as(tmp_path / name)
    found = json.loads((tmp_path / "inverted.json").read_text())
    assert pq.read_table(tmp_path / "inverted.parquet").to_pylist() == found
    [ours] = tiny.invert(vectors[1:], rounds=2, beam=2)
    assert [row["id"] for row in found] == [1, 2] and found[1]["error"] == "zero"
    assert (found[0]["inverted"], found[0]["cosine"]) == (ours.text, ours.cosine)
    assert page.locator("#rows .nv-text").all_inner_texts() == [ours.text, "zero"]

    assert [path.name for path in uploads.rglob("*.*")].count("whole.npz")
    page.context.close()
    deadline = time.monotonic() + PATIENCE / 1000
    while any(path.suffix for path in uploads.rglob("*")) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert [path.name for path in uploads.rglob("*.*")] == []


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (1440, "dark")])
def test_axe_finds_nothing_serious(visit, tmp_path, width, scheme):
    np.save(tmp_path / "one.npy", np.ones((1, 384)))
    page = visit(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page.keyboard.type("The old ferry")  # the box has the focus
    page.keyboard.press("Enter")
    done(page)
    check(page)
    tab = panel(page, "Your vectors")
    tab.locator("input[type=file]").set_input_files(tmp_path / "one.npy")
    said(page.locator("#look"), "1 vectors")
    tab.get_by_role("button", name="Invert rows").press("Enter")
    said(page.locator("#progress"), "1 rows are done")
    check(page)


def check(page):
    page.wait_for_timeout(500)  # colours fade in
    without_barriers(page)
