"""What retrieval is worth with defended vectors."""

import numpy as np
import pytest
from judged import QUERIES, beir

from nanov2t.audit.figures import MEASURES, Judgements, Retrieval, halves, read_beir
from nanov2t.core.errors import UserError
from nanov2t.defences import Setting, make_defence


@pytest.fixture(scope="module")
def retrieval(minilm, passages):
    return Retrieval(minilm, halves([*passages[:20], "alone"]))


def values(retrieval, spec=None):
    setting = Setting(384, 0, np.zeros((0, 384), np.float32))
    figures = retrieval.figures(make_defence(spec, setting) if spec else None)
    assert retrieval.facts["queries"] == 20, "a text of one word has no halves"
    for name in MEASURES:
        low, high = figures[name]["ci95"]
        assert 0 <= low <= figures[name]["value"] <= high <= 1
    return [figures[name]["value"] for name in MEASURES]


def test_what_keeps_angles_keeps_retrieval_and_noise_destroys_it(retrieval):
    plain = values(retrieval)
    assert plain[0] > 0.7 and plain[2] == 1
    for spec in ("scale:-2.6", "rotation"):
        assert values(retrieval, spec) == pytest.approx(plain, abs=0.01)
    noisy = values(retrieval, "noise:1")
    assert noisy[0] < 0.5 * plain[0] and noisy[2] < 0.7


def test_the_figure_is_that_of_the_ranks(retrieval):
    places = [row.tolist().index(i) for i, row in enumerate(retrieval.plain) if i in row]
    gains = sum(1 / np.log2(place + 2) for place in places)
    ndcg, recall, _ = values(retrieval)
    assert ndcg == pytest.approx(gains / 20, abs=1e-4) and recall == len(places) / 20


def test_grades_count(minilm):
    asked = ["old clocks", "a ferry"]
    documents = ["a clock that is old", "clockwork", "the ferry", "soup"]
    grades = [{0: 1, 1: 3}, {2: 1, 3: 1}]
    retrieval = Retrieval(minilm, Judgements("own", asked, documents, grades, {}))
    [first, second] = retrieval.plain.tolist()
    gains = [
        sum(g[d] / np.log2(i + 2) for i, d in enumerate(r) if d in g)
        for r, g in zip((first, second), grades, strict=True)
    ]
    ideal = [3 + 1 / np.log2(3), 1 + 1 / np.log2(3)]
    value = retrieval.figures(None)["ndcg@10"]["value"]
    assert value == pytest.approx(np.mean(np.divide(gains, ideal)), abs=1e-4)


def test_too_few_texts_are_refused():
    with pytest.raises(UserError, match="fewer than two"):
        halves(["two words", "one"])


def test_judgements_in_beirs_format(tmp_path):
    found = read_beir(beir(tmp_path / "own"), "test")
    assert found.name == "own" and len(found.documents) == 3
    assert found.queries == ["who mends clocks", "when does the boat sail"]
    assert found.relevant == [{0: 2}, {1: 1}]
    assert found.documents[0] == "Clocks My father repairs old clocks."


HEAD = "query-id\tcorpus-id\tscore\n"


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"qrels": HEAD + "q1\tc1\t1\n"}, "judges fewer than two queries"),
        ({"qrels": HEAD + "q9\tc1\t1\n"}, r"test.tsv: line 2: no query q9"),
        ({"qrels": HEAD + "q1\tc4\t1\n"}, r"line 2: no document c4"),
        ({"qrels": HEAD + "q1 c1 1\n"}, "line 2: not query, document and grade between tabs"),
        ({"qrels": HEAD + "q1\tc1\thigh\n"}, "test.tsv: line 2: not query, document and grade"),
        ({"queries": [*QUERIES, "{"]}, "queries.jsonl: line 4: not an object"),
        ({"corpus": [{"_id": "c1"}]}, "corpus.jsonl: line 1: not an object with `_id` and `text`"),
    ],
)
def test_what_are_no_judgements_is_one_line(tmp_path, files, said):
    with pytest.raises(UserError, match=said) as error:
        read_beir(beir(tmp_path / "own", **files), "test")
    assert "\n" not in str(error.value)
