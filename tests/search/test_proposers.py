"""What the proposers of evolution make of a population."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from nanov2t.models.editor import DictionaryEditor, exchanged
from nanov2t.search.edits import (
    SWEPT,
    Moves,
    Scored,
    disorder,
    exchange_gains,
    exchanges,
    rearranged,
)
from nanov2t.search.evolution import FirstGuesses
from nanov2t.search.options import SearchOptions
from nanov2t.search.population import Population, foremost, parents
from nanov2t.search.state import FLUENCY, SHORT, SearchState
from nanov2t.search.sums import (
    Phrases,
    Seams,
    Splices,
    Words,
    _bounds,
    _distinct,
    _spans,
    cosines_of_sums,
)
from nanov2t.targets import prepare_targets

TEXT = "the train to vienna was late again."


@pytest.fixture(scope="module")
def parts(bundled):
    return bundled.networks.engine


def after(parts, texts):
    """A search whose population is these texts."""
    vector = parts.reader.encode([TEXT])
    [target] = prepare_targets(vector, parts.reader.info, None, [None], 0)
    state = SearchState(0, target, SearchOptions(rounds=5))
    Population(parts.reader, parts.hypothesizer).rank([state], [texts])
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


def test_a_nat_is_worth_less_where_texts_are_longer(parts):
    assert after(parts, [TEXT, "late again"]).nat == FLUENCY
    state = after(parts, [" ".join([TEXT] * 4)])
    [member] = state.population
    assert state.nat == pytest.approx(FLUENCY * SHORT / len(member.ids))
    worth = state.nat * float(member.fluency.chosen.sum())
    assert member.fitness == pytest.approx(member.cosine + worth)


@pytest.mark.parametrize("kind", [Splices, Words, Phrases])
def test_proposals_are_as_likely_as_a_nat_is_worth(parts, kind):
    means = []
    for nat in (0.0, 1e-2):
        state = after(parts, ["the train to vienna was red.", "a bus was late, it seems"])
        state.nat = nat
        [texts] = kind(parts.hypothesizer, parts.editor, 2, 12).propose([state])
        state.population = []
        Population(parts.reader, parts.hypothesizer).rank([state], [texts])
        means.append(np.mean([float(m.fluency.chosen.sum()) for m in state.population]))
    assert means[0] < means[1]


def test_parents_are_the_fittest_the_nearest_and_others(parts):
    state = after(parts, ["the train was late.", "late again", "vienna", "a train", "it rained."])
    cosines = (0.9, 0.8, 0.995, 0.7, 0.6)
    pairs = zip(state.population, cosines, strict=True)
    state.population = [replace(member, cosine=cosine) for member, cosine in pairs]
    chosen = parents(state, 4)
    assert chosen[0] is state.population[0] and state.population[2] in chosen
    assert len({member.text for member in chosen}) == 4
    foremost_ones = [member.cosine for member in state.population if foremost(state, member)]
    assert foremost_ones == [0.9, 0.995]
    state.population[2] = replace(state.population[2], cosine=0.95)  # too far to be looked at so
    assert not foremost(state, state.population[2])


def test_a_span_of_one_text_completes_another(parts):
    state = after(parts, ["the train to vienna was red.", "a bus was late again."])
    [texts] = Splices(parts.hypothesizer, parts.editor, 2, 16).propose([state])
    assert TEXT in texts and len(set(texts)) == len(texts) <= 16
    assert not set(texts) & set(state.cosines)


def test_spans_of_former_populations_are_spliced_too(parts):
    splices = Splices(parts.hypothesizer, parts.editor, 4, 32)
    state = after(parts, ["the train was late."])
    assert TEXT not in splices.propose([state])[0]
    state.elite = after(parts, ["we went to vienna again."]).population
    assert any("vienna" in text for text in splices.propose([state])[0])


def test_how_likely_a_splice_is_follows_from_its_parts(parts):
    state = after(parts, ["the train to vienna was red.", "a bus was late again.", "to vienna"])
    members, reading = state.population, parts.hypothesizer.read(state.target.vector)
    bounds = _distinct(members)
    spans, seams = _spans(members, bounds), Seams(reading, [*members, members[0]])
    host = members[0]
    kept = [(0, i, j) for i, j in _bounds(host, 0)]
    found = seams.fluency(len(members), _spans([host], kept), spans)
    chosen = [(p, s) for p in range(0, len(kept), 3) for s in range(0, len(bounds), 5)]
    rows = [
        (*host.ids[: kept[p][1]], *members[h].ids[i:j], *host.ids[kept[p][2] :])
        for p, s in chosen
        for h, i, j in [bounds[s]]
    ]
    read = [float(reading.read([row])[0].chosen.sum()) for row in rows]
    guessed = [float(found[p, s]) for p, s in chosen]
    assert np.corrcoef(read, guessed)[0, 1] > 0.8
    same = [r == host.ids for r in rows]
    assert not any(same) or np.array(guessed)[same] == pytest.approx(np.array(read)[same], abs=1)


@pytest.mark.parametrize(
    "draft", ["the train to vienna was early again.", "the train to was late again."]
)
def test_a_word_of_the_dictionary_is_put_where_it_is_missing(parts, draft):
    [texts] = Words(parts.hypothesizer, parts.editor, 1, 32).propose([after(parts, [draft])])
    assert TEXT in texts and len(texts) == 32


def test_phrases_in_the_place_of_spans_come_nearer(parts):
    state = after(parts, ["the train to vienna came early."])
    [texts] = Phrases(parts.hypothesizer, parts.editor, 1, 48).propose([state])
    assert len(set(texts)) == len(texts) == 48 and not set(texts) & set(state.cosines)
    cosines = parts.reader.encode(texts) @ state.target.vector
    assert cosines.max() > state.pool[0].cosine + 0.02
    words = [set(text.split()) - set(state.pool[0].text.split()) for text in texts]
    assert max(map(len, words)) > 1


@pytest.mark.parametrize(
    "draft", ["was late again the train to vienna.", "vienna to the train was late again."]
)
def test_two_spans_change_places(parts, draft):
    """Also such as do not stand side by side."""
    [texts] = Moves(parts.hypothesizer, Scored(parts.editor), 1, 12).propose(
        [after(parts, [draft])]
    )
    assert TEXT in texts


def test_moves_are_exchanges():
    words = tuple("abcd")
    made = {exchanged(words, *exchange) for exchange in exchanges(4).tolist()}
    assert len(made) == len(exchanges(4)) and all(sorted(m) == sorted(words) for m in made)
    assert {tuple("dbca"), tuple("bcda"), tuple("cdab"), tuple("abdc")} <= made


def test_disorder_is_the_number_of_pairs_whose_order_changes():
    places = range(5)
    for exchange in exchanges(5):
        made = exchanged(tuple(places), *exchange)
        inversions = sum(made[a] > made[b] for b in places for a in range(b))
        assert disorder(*exchange) == inversions


def test_what_is_gained_is_what_then_stands_side_by_side():
    after = np.random.default_rng(0).normal(size=(6, 6))

    def total(order):
        return sum(after[i, j] for i, j in itertools.pairwise([0, *(i + 1 for i in order), 6]))

    after = np.pad(after, ((0, 0), (1, 0)))  # no word is the beginning
    gains = exchange_gains(after[:, 1:], exchanges(5))
    orders = [exchanged(tuple(range(5)), *exchange) for exchange in exchanges(5)]
    found = [total(order) - total(range(5)) for order in orders]
    np.testing.assert_allclose(gains, found, atol=1e-12)


def test_several_exchanges_are_made_together():
    """Where each alone loses, too."""
    order = (4, 5, 2, 3, 0, 1, 6, 9, 8, 7)
    after = np.full((11, 11), -8.0)
    for i, j in itertools.pairwise([-1, *order, 10]):
        after[i + 1, j] = 0.0
    found = rearranged(after, 0.0, np.random.default_rng(0))
    assert found[0] == order and len(set(found)) == len(found)
    assert all(sorted(new) == list(range(10)) for new in found)


def test_an_edit_network_sees_the_order(parts):
    """The exchange that makes the text is one of the best twentieth of some 500."""
    scored, [ids] = Scored(parts.editor), parts.reader.tokenize([TEXT])
    text = tuple(ids[1:-1])
    for draft in ("was late again the train to vienna.", "vienna to the train was late again."):
        state = after(parts, [draft])
        order = scored.of(state, state.population)[draft].order
        np.testing.assert_allclose(np.exp(order).sum(1), 1, rtol=1e-4)
        [member], every = state.population, exchanges(len(text))
        gains = exchange_gains(order[:-1, 1:].astype(float), every)
        right = [exchanged(member.ids, *exchange) == text for exchange in every]
        assert sum(right) == 1 and (gains > gains[right]).sum() < 25


def test_the_fittest_text_is_moved_about_more_where_nothing_was_gained(parts):
    state = after(parts, [f"{TEXT} it rained all day and nobody had told us why."])
    moves = Moves(parts.hypothesizer, Scored(parts.editor), 1, 3)
    [few] = moves.propose([state])
    state.progress *= 2
    [many] = moves.propose([state])
    assert len(few) < len(many) == len(set(many)) == 3 * SWEPT


def test_moves_go_where_language_has_the_words(parts, bundled):
    """They are likelier than moves at random."""
    state = after(parts, ["to vienna the train was late again."])
    reading = parts.hypothesizer.read(state.target.vector)

    def worth(hypothesizer, editor):
        [texts] = Moves(hypothesizer, Scored(editor), 1, 3).propose([state])
        assert len(set(texts)) == len(texts) == 12
        read = reading.read([ids[1:-1] for ids in parts.reader.tokenize(texts)])
        return np.mean([float(fluency.chosen.sum()) for fluency in read])

    blind = DictionaryEditor(bundled.dictionary, parts.reader)
    assert worth(parts.hypothesizer, parts.editor) > worth(None, blind) + 5
    assert worth(None, parts.editor) > worth(None, blind) + 2


def test_populations_that_stall_start_anew_and_are_then_joined(parts):
    first = FirstGuesses(parts.hypothesizer, parts.editor, 8)
    state = after(parts, ["late again, the train.", "the train to vienna was late.", "vienna"])
    former = list(state.population)
    assert first.propose([state]) == [[]] and state.population == former
    state.progress *= 5  # four rounds without gain
    [drawn] = first.propose([state])
    assert 4 < len(drawn) <= 8 and not set(drawn) & set(state.cosines)
    assert state.population == [] and state.progress == []
    assert state.elite == former[:1]
    Population(parts.reader, parts.hypothesizer).rank([state], [drawn])
    assert {member.text for member in state.population} == set(drawn)
    state.progress *= 5
    assert first.propose([state]) == [[]]
    fitness = [member.fitness for member in state.population]
    assert fitness == sorted(fitness, reverse=True)
    assert {m.text for m in state.population} == set(drawn) | {m.text for m in former}


def test_nothing_is_proposed_before_there_is_a_population(parts):
    [target] = prepare_targets(np.ones((1, 384), np.float32), parts.reader.info, None, [None], 0)
    state = SearchState(0, target, SearchOptions(rounds=5))
    for proposer in (
        Splices(parts.hypothesizer, parts.editor, 2, 16),
        Words(parts.hypothesizer, parts.editor, 2, 16),
        Moves(parts.hypothesizer, Scored(parts.editor), 2, 16),
        Phrases(parts.hypothesizer, parts.editor, 2, 16),
    ):
        assert proposer.propose([state]) == [[]]
