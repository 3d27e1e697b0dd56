"""Every beginning of a text, continued at the same time."""

import pytest
import torch

from nanov2t.models.beginnings import Beginnings
from nanov2t.models.reading import Reading

TEXT = "my father repairs old clocks."


@pytest.fixture(scope="module")
def reading(bundled, minilm):
    return Reading(bundled.hypothesizer, torch.from_numpy(minilm.encode([TEXT]))[0])


@pytest.fixture(scope="module")
def ids(minilm):
    return minilm.tokenize([TEXT])[0][1:-1]


def test_writing_the_text_itself_is_reading_it(reading, ids):
    [fluency] = reading.read([ids])
    rows = Beginnings(reading, ids, fluency)
    ends = rows.table.places[torch.tensor([*ids, reading.model.config.trunk.sep])]
    assert rows.lengths.tolist() == list(range(len(ids) + 1))
    for words in (1, 2):
        # Row i holds the first i tokens; those that have a token left to write go on.
        kept = torch.arange(len(ids) + 1 - words)
        rows.write(kept, ends[kept + words - 1])
        assert rows.written[0].tolist() == ids[:words]
        begun = fluency.chosen.unfold(0, words, 1)[: len(kept)].sum(1)
        torch.testing.assert_close(rows.total, begun, atol=1e-3, rtol=1e-3)
        following = rows.odds.gather(1, ends[kept + words, None])[:, 0]
        expected = fluency.chosen[words : words + len(kept)]
        torch.testing.assert_close(following, expected, atol=1e-3, rtol=1e-3)


def test_odds_are_log_probabilities_and_rows_may_be_repeated(reading, ids):
    [fluency] = reading.read([ids])
    rows = Beginnings(reading, ids, fluency)
    word = int(rows.odds[2].argmax())
    rows.write(torch.tensor([2, 2]), torch.tensor([word, word]))
    torch.testing.assert_close(rows.odds.exp().sum(1), torch.ones(2))
    torch.testing.assert_close(rows.odds[0], rows.odds[1])
