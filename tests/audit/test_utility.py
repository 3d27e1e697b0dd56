"""What retrieval is worth with defended vectors."""

import numpy as np
import pytest

from nanov2t.audit.utility import MEASURES, Retrieval
from nanov2t.core.errors import UserError
from nanov2t.defences import Setting, make_defence


@pytest.fixture(scope="module")
def retrieval(minilm, passages):
    return Retrieval(minilm, [*passages[:20], "alone"])


def values(retrieval, spec=None):
    setting = Setting(384, 0, np.zeros((0, 384), np.float32))
    figures = retrieval.figures(make_defence(spec, setting) if spec else None)
    assert figures["n"] == 20, "a text of one word has no halves"
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
    assert ndcg == pytest.approx(gains / 20) and recall == pytest.approx(len(places) / 20)


def test_too_few_texts_are_refused(minilm):
    with pytest.raises(UserError, match="fewer than two"):
        Retrieval(minilm, ["two words", "one"])
