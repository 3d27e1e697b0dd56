"""The documents agree with the code, and with each other."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = (".", "docs", "benchmarks", "research")
PAGES = [page for folder in FOLDERS for page in (ROOT / folder).glob("*.md")]


def test_what_is_taken_from_the_code_is_current():
    spec = importlib.util.spec_from_file_location("generate_docs", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page = module.PAGE.read_text(encoding="utf-8")
    assert page == module.generated(), "run: python docs/generate.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    links = [x for x in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in x]
    assert not [x for x in links if not leads_somewhere(page, x)]


def leads_somewhere(page: Path, link: str) -> bool:
    """Whether a relative link names a file and, after a #, one of its headings."""
    name, _, anchor = link.partition("#")
    target = page.parent / name if name else page
    if not target.exists() or not anchor:
        return target.exists()
    headings = re.findall(r"^#+ (.+)", target.read_text(encoding="utf-8"), re.MULTILINE)
    return anchor in [re.sub(r"[^\w -]", "", x).lower().replace(" ", "-") for x in headings]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_extras_are_installed_from_a_clone(page):
    assert "nanov2t[" not in page.read_text(encoding="utf-8"), "it is on no index: '.[EXTRA]'"


NUMBER = r"(?<![\w.,#^-])(?:\d+(?:,\d{3})*(?:\.\d+)?|\.\d+)(?!\w)"
UNIT = (
    r"(?:%|µs|ms|s|seconds?|min|minutes?|hours?|embeddings|examples|drafts|rows a second"
    r"|KiB|MiB|GiB|kB|MB|GB|GFLOP)(?!\w)"
)
MEASURED = re.compile(rf"({NUMBER})(?=(?: and {NUMBER}| to {NUMBER})?\s?{UNIT})")
MARK = re.compile(r"<!-- (?:quoted|computed): (.+?) -->", re.DOTALL)


def claims(page: str) -> list[set[str]]:
    """What a page says was measured: the numbers of each row of its tables of figures, and every
    number with a unit. What a mark says stands for its paragraph."""
    page = re.sub(r"```.*?```|`[^`]*`|\]\([^)]*\)", " ", page, flags=re.DOTALL)
    tables = re.findall(r"<!-- figures.*?-->(.*?)<!-- /figures -->", page, re.DOTALL)
    rows = re.findall(r"^\|.*", "\n".join(tables), re.MULTILINE)
    paragraphs = re.split(r"\n\s*\n|\n(?=- )", page)
    prose = "\n".join(" ".join(MARK.findall(text)) or text for text in paragraphs)
    return [set(re.findall(NUMBER, row)) for row in rows] + [{x} for x in MEASURED.findall(prose)]


def unfounded(page: str, results: str) -> list[set[str]]:
    """The claims that no line of the results holds."""
    lines = [set(re.findall(NUMBER, line)) for line in results.splitlines()]
    return [claim for claim in claims(page) if not any(claim <= line for line in lines)]


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *ROOT.glob("docs/*.md")], ids=lambda page: page.name
)
def test_measured_figures_stand_in_the_results(page):
    results = (ROOT / "RESULTS.md").read_text(encoding="utf-8")
    assert not unfounded(page.read_text(encoding="utf-8"), results), "see docs/protocol.md"


def test_a_figure_that_drifts_is_noticed():
    results = "| 8 tokens | n = 100 | 98.0 | 722 | 5.35 s |\n| 4 tokens | 100.0 | 36 |"
    table = "<!-- figures -->\n| 8 tokens | {} | {} |\n<!-- /figures -->"
    assert not unfounded(table.format("98.0", "722") + "\n\nA text took 5.35 s.", results)
    assert unfounded(table.format("98.0", "36"), results) == [{"8", "98.0", "36"}], "another row's"
    assert unfounded("A text took 5.4 s,\nor 17.2 s.", results) == [{"5.4"}, {"17.2"}]
    hours = "10^6 texts take 1,490 hours. <!-- computed: from {} s -->\n\n`--budget 30s`"
    assert not unfounded(hours.format("5.35"), results)
    assert unfounded(hours.format("17.2"), results) == [{"17.2"}]
