"""What the proposers of evolution make of a population."""

import numpy as np
import pytest
import torch

from nanov2t.search.options import SearchOptions
from nanov2t.search.population import Population
from nanov2t.search.proposers.moves import Moves
from nanov2t.search.proposers.splices import Splices, cosines_of_sums
from nanov2t.search.proposers.words import Words
from nanov2t.search.state import SearchState
from nanov2t.targets import prepare_targets

TEXT = "the train to vienna was late again."


@pytest.fixture(scope="module")
def parts(bundled):
    return bundled._parts()


def after(parts, texts):
    """A search whose population is these texts."""
    vector = parts.embedder.encode([TEXT])
    [target] = prepare_targets(vector, parts.embedder.info, None, [None], 0)
    state = SearchState(0, target, SearchOptions(rounds=5))
    Population(parts.embedder, parts.guesser).rank([state], [texts])
    return state


def test_cosines_of_sums():
    a, b = torch.randn(3, 8), torch.randn(4, 8)
    target = torch.nn.functional.normalize(torch.randn(8), dim=0)
    sums = a[:, None] + b[None]
    torch.testing.assert_close(cosines_of_sums(a, b, target), sums @ target / sums.norm(dim=-1))


def test_a_population_is_ordered_by_fitness_and_keeps_the_nearest(parts):
    state = after(parts, ["late again, the train.", "the train to vienna was late.", "vienna"])
    fitness = [member.fitness for member in state.population]
    assert fitness == sorted(fitness, reverse=True)
    assert all(member.fitness < member.cosine for member in state.population)
    assert state.pool[0].text == "the train to vienna was late."


def test_a_span_of_one_text_completes_another(parts):
    state = after(parts, ["the train to vienna was red.", "a bus was late again."])
    [texts] = Splices(parts.guesser, parts.editor, 2, 16).propose([state])
    assert TEXT in texts and len(set(texts)) == len(texts) <= 16
    assert not set(texts) & set(state.cosines)


@pytest.mark.parametrize(
    "draft", ["the train to vienna was early again.", "the train to was late again."]
)
def test_a_word_of_the_dictionary_is_put_where_it_is_missing(parts, draft):
    [texts] = Words(parts.guesser, parts.editor, 1, 32).propose([after(parts, [draft])])
    assert TEXT in texts and len(texts) == 32


def test_moves_go_where_language_has_the_words(parts):
    """They are likelier than moves at random."""
    state = after(parts, ["to vienna the train was late again."])
    reading = parts.guesser.read(state.target.vector)

    def worth(guesser):
        [texts] = Moves(guesser, parts.editor, 1, 12).propose([state])
        assert len(set(texts)) == len(texts) == 12
        read = reading.read(parts.editor.encode(texts))
        return np.mean([float(fluency.chosen.sum()) for fluency in read])

    assert worth(parts.guesser) > worth(None) + 5


def test_nothing_is_proposed_before_there_is_a_population(parts):
    [target] = prepare_targets(np.ones((1, 384), np.float32), parts.embedder.info, None, [None], 0)
    state = SearchState(0, target, SearchOptions(rounds=5))
    for proposer in (
        Splices(parts.guesser, parts.editor, 2, 16),
        Words(parts.guesser, parts.editor, 2, 16),
        Moves(parts.guesser, parts.editor, 2, 16),
    ):
        assert proposer.propose([state]) == [[]]
