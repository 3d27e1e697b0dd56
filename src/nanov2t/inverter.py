"""An embedder and its generators together: vectors back to the text they came from."""

from __future__ import annotations

import copy
import itertools
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from nanov2t.align.alignment import Alignment
from nanov2t.core.errors import UserError
from nanov2t.core.files import digest
from nanov2t.core.vectors import as_rows
from nanov2t.embedders.base import Embedder
from nanov2t.models.dictionary import Dictionary
from nanov2t.models.edit_network import EditNetwork
from nanov2t.models.editor import DictionaryEditor, Editor, NetworkEditor
from nanov2t.models.prefix_lm import PrefixLM
from nanov2t.models.reading import Hypothesizer
from nanov2t.search.evolution import Engine, make_search
from nanov2t.search.loop import Search
from nanov2t.search.options import BEAM, UNLIMITED, Budget, Effort, SearchOptions
from nanov2t.search.state import Inversion, OnRound, Round
from nanov2t.t5 import inference
from nanov2t.t5.generator import Generator
from nanov2t.t5.inference import Writer
from nanov2t.targets import Defence, Judge, Knowledge, Target, check_vectors, prepare_targets

TOKENS = 32
"""Longest text, where no network says for which it was trained."""
CHUNK = 64
"""Vectors prepared at a time, ahead of the search."""
FIRST, FEW, FAR = 32, 8, 0.5
"""The first vectors, and the fewest, whose first guesses tell whether they are the embedder's; and
the cosine on the reader's scale that one of them reaches: MiniLM's own .6, another model's .4."""


class Inverter:
    """An embedder, its networks and a search. A UserError says that there is no such search.

    Attributes:
        embedder: what made the vectors, and judges texts.
        reader: the embedder whose vectors and states the networks read; the same object unless
            there is an alignment, from the embedder's vectors to the reader's space.
        tokenizer: the generators'.
        hypothesizer: writes the first hypotheses; None if searches start from drafts.
        corrector: rewrites or edits hypotheses; None if there is only round 0. The same object as
            `hypothesizer` if one network is both.
        defence: applied to every vector before it is inverted, to study what it protects.
        effort, budget: how much is spent on a vector.
        tolerance: 1 - cosine up to which a text counts as exact; None: that of rounding and noise.
        dictionary: of the embedder's states; None for T5 generators.
        max_tokens: of the longest text that the generators write.
    """

    def __init__(
        self,
        embedder: Embedder,
        tokenizer: Any,
        hypothesizer: Generator | PrefixLM | None,
        corrector: Generator | EditNetwork | None,
        dictionary: Dictionary | None = None,
        *,
        search: str = "default",
        defence: Defence | None = None,
        effort: Effort = "default",
        budget: Budget = UNLIMITED,
        reader: Embedder | None = None,
        alignment: Alignment | None = None,
        tolerance: float | None = None,
    ):
        self.embedder, self.reader, self.tokenizer = embedder, reader or embedder, tokenizer
        self.alignment, self.tolerance = alignment, tolerance
        self.hypothesizer, self.corrector = hypothesizer, corrector
        self.search, self.defence = search, defence
        self.dictionary, self.effort, self.budget = dictionary, effort, budget
        network = hypothesizer or corrector
        self.max_tokens = TOKENS if network is None else network.config.max_tokens
        self._networks = self._pair() if dictionary is None else self._engine(dictionary)
        self._search = self._make_search()
        self._nearest: list[float] = []

    def with_search(self, search: str, effort: Effort, budget: Budget | None = None) -> Inverter:
        """The same networks, not copied, with another search, effort and budget."""
        other = copy.copy(self)
        other.search, other.effort, other.budget = search, effort, budget or self.budget
        other._networks = replace(self._networks, effort=effort)
        other._search = other._make_search()
        return other

    def _engine(self, dictionary: Dictionary) -> Engine:
        reader, first, second = self.reader, self.hypothesizer, self.corrector
        editor: Editor = DictionaryEditor(dictionary, reader)
        if isinstance(second, EditNetwork):
            editor = NetworkEditor(second, dictionary, reader)
        hypothesizer = Hypothesizer(first, reader) if isinstance(first, PrefixLM) else None
        return Engine(reader, editor, hypothesizer, self.effort, self.alignment is not None)

    def _pair(self) -> inference.Pair:
        writers: dict[Any, Writer] = {
            network: Writer(network, self.tokenizer, self.embedder)
            for network in (self.hypothesizer, self.corrector)
            if isinstance(network, Generator)
        }
        first, second = (writers.get(g) for g in (self.hypothesizer, self.corrector))
        return inference.Pair(self.embedder, first, second, self.effort)

    def _make_search(self) -> Search:
        if isinstance(self._networks, Engine):
            return make_search(self.search, self._networks)
        return inference.make_search(self.search, self._networks)

    @property
    def default_rounds(self) -> int:
        return self._search.default_rounds

    def invert(
        self,
        vectors: np.ndarray | Sequence[Sequence[float]],
        rounds: int | None = None,
        beam: int = BEAM,
        drafts: Sequence[str] | None = None,
        on_round: OnRound | None = None,
        knowledge: Knowledge | None = None,
        *,
        effort: Effort | None = None,
        budget: Budget | None = None,
    ) -> list[Inversion]:
        """Invert vectors.

        Args:
            vectors: float32 [n, dim], or as many lists of numbers.
            rounds: corrections at most, after the first guess; by default the search's.
            beam: hypotheses kept, and written in a correction.
            drafts: start from these texts, one a vector, in place of the hypothesizer's.
            on_round: called with a vector's index and its best hypothesis after each of its rounds.
            knowledge: of a defence that the vectors have passed: texts are then compared by their
                defended vectors, and cosines are those.
            effort, budget: how much to spend on a vector; by default the inverter's.

        Raises:
            UserError: a vector is of another dimension, zero, or not finite; or the drafts are too
                few or too many.
        """
        vectors = as_rows(vectors)
        self.check(vectors)
        if drafts is not None and len(drafts) != len(vectors):
            raise UserError(f"{len(drafts)} drafts for {len(vectors)} vectors")
        inverter = self
        if effort or budget:
            inverter = self.with_search(self.search, effort or self.effort, budget)
        found = dict(inverter.stream(vectors, rounds, beam, drafts, on_round, knowledge=knowledge))
        return [found[i] for i in range(len(vectors))]

    def hypothesize(self, vectors: np.ndarray) -> list[str]:
        """The greedy first guess of each vector, float32 [n, dim]."""
        if self.hypothesizer is None:
            raise UserError("the inverter has no model that writes first guesses")
        return self._networks.hypothesize([t.vector for t in self._targets(vectors, None)])

    @property
    def price(self) -> str:
        """What a vector costs at most if another machine judges; empty if none does."""
        if self.alignment is None or self.embedder.model is not None:
            return ""
        own = self.budget if self.budget != UNLIMITED else self._search.default_budget
        limit = f"{own.embeddings:,.0f} texts" if own.embeddings < float("inf") else "any number"
        return f"{self.embedder.name} judges: at most {limit} a vector, about 12 tokens each"

    def fingerprint(self) -> str:
        """A hash of its weights, dictionary, embedder and alignment."""
        networks = [n for n in (self.hypothesizer, self.corrector) if n is not None]
        tensors = [weight for network in networks for weight in network.unique_weights().values()]
        if known := self.dictionary:
            tensors += [known.states, known.whitening, known.words, known.log_frequency]
        # A single number has to be made a row before its bytes can be seen.
        facts = [x.cpu().reshape(-1).view(torch.uint8).numpy().tobytes() for x in tensors]
        if aligned := self.alignment:
            facts += [aligned.centre.tobytes(), aligned.weights.tobytes()]
        return digest(self.embedder.info.fingerprint, *facts)

    def check(self, vectors: np.ndarray) -> None:
        """Refuse vectors that are not [n, dim], or hold a row that is zero or not finite."""
        check_vectors(vectors, self.embedder.info)

    def stream(
        self,
        vectors: Iterable[np.ndarray],
        rounds: int | None = None,
        beam: int = BEAM,
        drafts: Iterable[str] | None = None,
        on_round: OnRound | None = None,
        batch: int | None = None,
        knowledge: Knowledge | None = None,
    ) -> Iterator[tuple[int, Inversion]]:
        """Invert vectors [dim] as they come, `batch` at a time; yields each position and inversion
        as soon as its search is over, so out of order."""
        options = SearchOptions(rounds, beam, batch, self.budget)
        targets = self._targets(vectors, drafts, knowledge)
        untold = len(self._nearest) < FEW
        if isinstance(self._networks, Engine) and not (drafts or knowledge or self.defence):
            on_round = self._watched(on_round, untold)
        for i, found in self._search.stream(targets, options, on_round):
            yield i, replace(found, unseen=self.embedder.unseen(found.text))
        if untold and FEW <= len(self._nearest) < FIRST:
            self._doubt()

    def _watched(self, on_round: OnRound | None, untold: bool) -> OnRound:
        """Also note how near the first guesses come to the first vectors."""
        scale = 1.0 if self.alignment is None else self.alignment.scale

        def note(index: int, best: Round) -> None:
            if best.round == 0 and len(self._nearest) < FIRST:
                self._nearest.append(1 - (1 - best.cosine) / scale)
                if untold and len(self._nearest) == FIRST:
                    self._doubt()
            if on_round is not None:
                on_round(index, best)

        return note

    def _doubt(self) -> None:
        if max(self._nearest) < FAR:
            print(
                f"nanov2t: the vectors do not look like those of {self.embedder.name}: no first "
                f"guess of {len(self._nearest)} comes near; name the model that made them with "
                "--embedder",
                file=sys.stderr,
            )

    def _targets(
        self,
        vectors: Iterable[np.ndarray],
        drafts: Iterable[str] | None,
        knowledge: Knowledge | None = None,
    ) -> Iterator[Target]:
        given = itertools.repeat(None) if drafts is None else drafts
        rows = zip(vectors, given, strict=False)
        judge = Judge(knowledge=knowledge)
        if self.alignment is not None:
            judge = Judge(self.embedder, self.alignment, knowledge, self.reader)
        first, info = 0, self.embedder.info
        while chunk := list(itertools.islice(rows, CHUNK)):
            array, texts = np.stack([vector for vector, _ in chunk]), [draft for _, draft in chunk]
            yield from prepare_targets(
                array, info, self.defence, texts, first, judge, self.tolerance
            )
            first += CHUNK
