"""The report as a page: in a browser, and what it says."""

import json
import re

import jsonschema
import pytest
from audit_rows import DEFENDED, PLAIN, attacker, report, row
from browsing import CHROMIUM, browsing, without_barriers

from nanov2t.audit.judging import Limit, judge, schema
from nanov2t.audit.page import by_length, trade, visible, write_report

EVIL = {
    "text": "<script>document.title='taken'</script> left \u202eright",
    "found": "<img src=x onerror=\"document.title='taken'\"> left",
    "cosine": 0.5,
}
ROWS = [
    row("none", 0.8, attacker("unchanged", 90, 90, worst=[EVIL])),
    DEFENDED,
    *[row(f"noise:{x}", 0.8 - 9 * x, attacker("unchanged", 90 - 900 * x)) for x in (0.01, 0.05)],
    row("own:<b>", 0.1, attacker("<i>", 1, 2)),
]
GATE = [
    Limit("exact_match@16", "exact_match", "max", 60),
    Limit("ndcg@10", "ndcg@10", "min_share", 0.5),
]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The folder of a report that has everything in it."""
    out = tmp_path_factory.mktemp("report")
    made = report(*ROWS, regressions=["bits: worse <b>"])
    made["gate"] = judge(GATE, made)
    write_report(out, made, "nanov2t audit --out '</code>'")
    return out


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("Debian's chromium is not installed")
    with browsing() as browser:
        yield browser


@pytest.fixture
def visit(browser, written):
    """Opens the page; what it asked for, or complained of, fails the test."""
    contexts, asked, said = [], [], []

    def open_(**settings):
        contexts.append(browser.new_context(**settings))
        page = contexts[-1].new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.goto((written / "report.html").as_uri())
        return page

    yield open_
    for context in contexts:
        context.close()
    assert set(asked) == {(written / "report.html").as_uri()} and said == []


def test_texts_stay_texts_and_the_gate_is_judged(visit):
    page = visit()
    assert page.title() == "What embeddings of all-MiniLM-L6-v2 give away"
    assert page.locator("script").count() == 1 and page.locator("img, td b, td i").count() == 0
    shown = page.locator(".record").inner_text()
    assert EVIL["text"].replace("\u202e", "(U+202E)") in shown and EVIL["found"] in shown
    assert page.locator(".record b.same").all_inner_texts() == ["left", "left"]
    verdicts = page.locator("#summary .verdict").all_inner_texts()
    assert "not passed" in verdicts[0] and "3 of 8 limits are broken" in verdicts[0]
    assert "worse" in verdicts[1] and "bits: worse <b>" in verdicts[1]
    assert page.locator("#summary td.bad").count() == 3


def test_tables_sort_and_are_whole_without_the_script(visit):
    def glance(page):
        return page.locator("#summary table", has_text="At a glance")

    def cells(page):
        return [x.split()[0] for x in glance(page).locator("td:nth-child(2)").all_inner_texts()]

    still = visit(java_script_enabled=False)
    assert still.locator("th button").count() == 0
    page = visit()
    heading = glance(page).get_by_role("button", name=re.compile("^16 tokens"))
    for order, reverse in (("ascending", False), ("descending", True)):
        heading.click()
        assert heading.locator("xpath=..").get_attribute("aria-sort") == order
        assert cells(page) == sorted(cells(still), key=float, reverse=reverse)


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (1440, "dark")])
def test_axe_finds_nothing_serious(visit, width, scheme):
    page = visit(viewport={"width": width, "height": 800}, color_scheme=scheme, bypass_csp=True)
    for summary in page.locator("summary").all()[1:]:
        summary.click()
    without_barriers(page)


def test_the_json_is_of_its_form(written):
    made = json.loads((written / "report.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema())
    jsonschema.validate(made, schema())
    del made["defences"][1]["attackers"][1]["lengths"][0]["control"]
    with pytest.raises(jsonschema.ValidationError, match="control"):
        jsonschema.validate(made, schema())


def test_the_page_says_what_was_left_out_and_what_the_cut_left(written):
    page = (written / "report.html").read_text()
    left_out = "16 tokens: 12 of 15 texts attacked. Left out: shorter than 16 tokens: 3"
    assert f"<li>{left_out}</li>" in page
    first = page.split("<tbody>")[3].split("</tr>")[0]
    assert first.count("of 12 of 15") == 1 and first.count(">all 4 cut off<") == 1
    assert first.count("none there") == 3


def test_of_a_small_corpus_only_ndcg_is_shown(tmp_path):
    small = report(PLAIN, DEFENDED)
    small["defences"] = [
        row | {"utility": {"ndcg@10": row["utility"]["ndcg@10"]}} for row in (PLAIN, DEFENDED)
    ]
    jsonschema.validate(small, schema())
    write_report(tmp_path, small, "")
    page = (tmp_path / "report.html").read_text()
    assert "top 10 kept" not in page and "So few documents" in page


def test_marks_stand_where_the_figures_are():
    plain, defended = trade([PLAIN, DEFENDED], 16)["marks"]
    assert plain["x"] > defended["x"], "more to the right, the better search works"
    high, low = by_length([PLAIN, DEFENDED], "exact_match", "")["marks"]
    assert (high["y"], low["y"]) == (90, 4) and high["shape"] != low["shape"]
    assert low["title"] == "bits, 16 tokens: 4.0 (2.0 to 6.0), attacker informed"


def test_invisible_characters_are_shown():
    assert visible("x\u202ey") == "x(U+202E)y" and visible(1) == 1
