"""Studying an embedder: a small random BERT, whose vectors evolution then inverts."""

import pytest
from support import HERE

from nanov2t.core.errors import UserError
from nanov2t.embedders.sentence import SentenceEmbedder
from nanov2t.inverter import Inverter
from nanov2t.load import EngineNetworks
from nanov2t.models.editor import DictionaryEditor
from nanov2t.search.edits import Moves, Scored
from nanov2t.search.evolution import FirstGuesses
from nanov2t.search.loop import Proposer, RoundSearch
from nanov2t.search.options import Budget, SearchOptions
from nanov2t.search.population import Population, dice, parents
from nanov2t.t5.inference import stop
from nanov2t.targets import prepare_targets
from nanov2t.train.network import study_embedder

PASSAGES = str(HERE / "passages.txt")
TEXTS = ["the museum of clocks", "rivers in the north", "she studied the city"]
BUDGET = Budget(embeddings=3000)


def test_the_averages_explain_states_they_were_not_made_of(studied):
    assert studied.left_with_offset < studied.left < 0.6
    assert len(studied.dictionary.words) > 300


class AnyWord(Proposer):
    """A frequent word put anywhere into members."""

    name = "any word"

    def __init__(self, editor):
        self.editor = editor

    def suggest(self, state):
        random, rows = dice(state, self.name), []
        for member in parents(state, 12):
            for _ in range(12):
                place, word = int(random.integers(len(member.ids) + 1)), int(random.integers(50))
                end = place + int(random.integers(2))
                word = self.editor.frequent_words[word]
                rows.append((*member.ids[:place], word, *member.ids[end:]))
        return self.editor.decode(rows)


def test_evolution_by_the_dictionary_beats_a_blind_one(embedder, studied):
    vectors = embedder.encode(TEXTS)
    dictionary = studied.dictionary
    inverter = Inverter(EngineNetworks(embedder, dictionary), SearchOptions(budget=BUDGET))
    missed = sum(1 - inversion.cosine for inversion in inverter.invert(vectors))
    editor = DictionaryEditor(dictionary, embedder)
    step = [
        FirstGuesses(None, editor, 32),
        Moves(None, Scored(editor), 12, 12),
        AnyWord(editor),
    ]
    blind = RoundSearch(step, Population(embedder), stop, 32, 8, together=False)
    targets = prepare_targets(vectors, embedder.info)
    blindly = sum(1 - f.cosine for _, f in blind.stream(targets, SearchOptions(budget=BUDGET)))
    assert missed < 0.7 * blindly


def test_an_embedder_without_states_is_refused(embedder, tmp_path):
    hidden = SentenceEmbedder(embedder.model, "hidden")
    hidden.has_states = False
    with pytest.raises(UserError, match="hidden: does not show hidden states"):
        study_embedder(hidden, PASSAGES, 100, tmp_path)
