"""Every example of the page on extending runs as it stands."""

import re

import pytest
from support import HERE

from nanov2t.search import evolution as searches
from nanov2t.stores import registry as stores

PAGE = (HERE.parent / "docs" / "extending.md").read_text(encoding="utf-8")
SECTIONS = re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]
EXAMPLES = {
    f"{section.splitlines()[0]} {i}": code
    for section in SECTIONS
    for i, code in enumerate(re.findall(r"^```python\n(.*?)^```", section, re.DOTALL | re.M))
}


def test_every_seam_has_an_example():
    assert [name.rpartition(" ")[0] for name in EXAMPLES] == [
        "A proposer",
        "A proposer",
        "A search",
        "A store",
        "A defence",
    ]


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_example_runs(example, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(searches, "SEARCHES", dict(searches.SEARCHES))
    monkeypatch.setattr(stores, "STORES", list(stores.STORES))
    names = {"__name__": "example"}
    exec(compile(EXAMPLES[example], f"docs/extending.md: {example}", "exec"), names)
    said = capsys.readouterr().out
    assert said.strip()
    if "found" in names:
        found = names["found"]
        assert 0 < found.cosine <= 1 and f"{found.cosine}" in said
        cosines = [hypothesis.cosine for hypothesis in found.hypotheses]
        assert cosines == sorted(cosines, reverse=True) and cosines[0] == found.cosine
        assert found.hypotheses[0].text == found.text
