"""What a language model makes of a vector: texts drawn, and how likely they are."""

import pytest
import torch

from nanov2t.models.reading import CHOICES, UNREADABLE, Beginnings, Reading

TEXTS = ["my father repairs old clocks.", "the key is under the blue pot."]


@pytest.fixture(scope="module")
def model(bundled):
    return bundled.hypothesizer


@pytest.fixture(scope="module")
def targets(minilm):
    return torch.from_numpy(minilm.encode(TEXTS))


@pytest.fixture(scope="module")
def ids(minilm):
    return [row[1:-1] for row in minilm.tokenize(TEXTS)]


@pytest.fixture(scope="module")
def reading(model, targets):
    return Reading(model, targets[0])


def test_log_probability_is_that_of_each_word_in_turn(model, targets, reading, ids):
    [fluency] = reading.read([ids[0]])
    trunk, guess, written = model.config.trunk, model.guess(targets[:1]), [model.config.trunk.cls]
    expected = []
    with torch.inference_mode():
        for word in [*ids[0], trunk.sep]:
            states = model.hidden(targets[:1], torch.tensor([written]))
            left = guess.clone()
            left[0, written] = 0  # what was written is no longer missing
            logits = (model.logits(states)[0, -1] + left[0])[reading.words]
            place = int((reading.words == word).nonzero())
            expected.append(float(logits.log_softmax(-1)[place]))
            written.append(word)
    assert fluency.chosen.tolist() == pytest.approx(expected, abs=1e-3)


def test_its_own_text_is_likelier_than_that_of_another_vector(model, targets, reading, ids):
    other = Reading(model, targets[1])
    own, foreign = (float(r.read([ids[0]])[0].chosen.sum()) for r in (reading, other))
    assert own > foreign + 10


def test_texts_read_together_read_as_alone(reading, ids):
    turned = ids[0][::-1]
    both = reading.read([ids[0], turned])
    for text, fluency in zip((ids[0], turned), both, strict=True):
        [alone] = reading.read([text])
        torch.testing.assert_close(alone.chosen, fluency.chosen, atol=1e-4, rtol=1e-4)
    assert both[0].chosen.sum() > both[1].chosen.sum() + 5  # order counts


def test_continuations_of_its_own_words_are_what_was_chosen(model, reading, ids):
    [fluency] = reading.read([ids[0]])
    words = torch.tensor([*ids[0], model.config.trunk.sep])
    [odds] = reading.continuations([(ids[0], fluency)], words)
    assert odds.shape == (len(words), len(words))
    torch.testing.assert_close(odds.diagonal(), fluency.chosen, atol=1e-3, rtol=1e-3)


def test_a_text_without_words_and_one_that_is_too_long_can_be_read(reading):
    assert reading.read([[]])[0].chosen.shape == (1,)
    [fluency] = reading.read([[2000] * 300])
    assert float(fluency.chosen[:-1].sum()) == 300 * UNREADABLE


def test_drawing_without_chance_is_writing(model, targets, reading):
    [greedy] = model.generate(targets[0], 1, 20)
    drawn = reading.draw(torch.zeros(2, 20, CHOICES))
    assert drawn == [greedy] * 2
    assert reading.draw(torch.zeros(1, 3, CHOICES)) == [greedy[:3]]


def test_draws_differ_and_do_not_depend_on_one_another(reading):
    noise = -torch.empty(8, 20, CHOICES).exponential_(generator=torch.Generator().manual_seed(0))
    noise = -(-noise).log()
    drawn = reading.draw(noise)
    assert len(set(map(tuple, drawn))) > 4 and all(drawn)
    assert reading.draw(noise[3:5]) == drawn[3:5]


def test_writing_the_text_itself_is_reading_it(reading, ids):
    ids = ids[0]
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
    ids = ids[0]
    [fluency] = reading.read([ids])
    rows = Beginnings(reading, ids, fluency)
    word = int(rows.odds[2].argmax())
    rows.write(torch.tensor([2, 2]), torch.tensor([word, word]))
    torch.testing.assert_close(rows.odds.exp().sum(1), torch.ones(2))
    torch.testing.assert_close(rows.odds[0], rows.odds[1])
