"""The object that Python users hold: it turns vectors back into the text they came from."""

from __future__ import annotations

import copy
import itertools
import sys
from abc import ABC, abstractmethod
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
from nanov2t.search.loop import Search
from nanov2t.search.options import UNLIMITED, Budget, Effort, SearchOptions
from nanov2t.search.state import Inversion, OnRound
from nanov2t.targets import Defence, Judge, Knowledge, Target, check_vectors, prepare_targets

TOKENS = 32  # longest text if no network sets one
CHUNK = 64  # vectors prepared at a time, ahead of the search
FIRST, FEW = 32, 8
"""The vectors whose first guesses show whether they are the embedder's, and how many that takes."""


class Networks(ABC):
    """An embedder and the networks that read its vectors.

    Attributes:
        embedder: made the vectors, and judges texts.
        reader: the embedder whose vectors the networks read. It is `embedder` unless there is an
            alignment from `embedder`'s vectors to the reader's.
        tokenizer: the networks' own.
        hypothesizer: writes the first hypotheses; None if searches start from drafts.
        corrector: rewrites or edits hypotheses; None if there is only round 0. It is
            `hypothesizer` if one network does both.
        dictionary: of the reader's states; None for T5s.
        near: cosine, on the reader's scale, that the best of a few first guesses reaches if the
            vectors are the embedder's.
    """

    embedder: Embedder
    reader: Embedder
    tokenizer: Any
    hypothesizer: Any
    corrector: Any
    alignment: Alignment | None = None
    dictionary: Dictionary | None = None
    near: float = -1.0

    @abstractmethod
    def search(self, options: SearchOptions) -> Search:
        """The search that the options name; a UserError if there is none."""

    @abstractmethod
    def hypothesize(self, targets: Sequence[np.ndarray]) -> list[str]:
        """The greedy first guess of each target, float32 [dim]. Needs a hypothesizer."""


class Inverter:
    """Networks with a search; see :class:`Networks` for most attributes. Raises a UserError if the
    networks do not have the search.

    Attributes:
        options: how it searches. :meth:`with_options` changes them.
        defence: changes every vector before it is inverted, to study what it protects.
        max_tokens: of the longest text that the networks write.
    """

    def __init__(
        self,
        networks: Networks,
        options: SearchOptions = SearchOptions(),  # noqa: B008 (it is frozen)
        defence: Defence | None = None,
    ):
        self.networks, self.options, self.defence = networks, options, defence
        self.embedder, self.reader = networks.embedder, networks.reader
        self.tokenizer, self.alignment = networks.tokenizer, networks.alignment
        self.hypothesizer, self.corrector = networks.hypothesizer, networks.corrector
        self.dictionary, network = networks.dictionary, self.hypothesizer or self.corrector
        self.max_tokens: int = TOKENS if network is None else network.config.max_tokens
        self._search = networks.search(options)
        self._guesses: list[float] = []  # cosines of the first vectors' first guesses

    def with_options(self, **changes: Any) -> Inverter:
        """The same networks with other :class:`SearchOptions`, given by name."""
        other = copy.copy(self)
        other.options = replace(self.options, **changes)
        other._search = self.networks.search(other.options)
        return other

    @property
    def rounds(self) -> int:
        """The most corrections of its search."""
        given = self.options.rounds
        return self._search.default_rounds if given is None else given

    def invert(
        self,
        vectors: np.ndarray | Sequence[Sequence[float]],
        rounds: int | None = None,
        beam: int | None = None,
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
            rounds, beam, effort, budget: in place of the inverter's own options.
            drafts: texts to start from, one for each vector, instead of first guesses.
            on_round: called with a vector's index and its best hypothesis after each of its rounds.
            knowledge: of a defence that the vectors have passed. Texts are then compared by their
                defended vectors, and cosines are between those.

        Raises:
            UserError: the vectors have another dimension, or one is zero or not finite; or there
                are too few or too many drafts.
        """
        vectors = as_rows(vectors)
        self.check(vectors)
        if drafts is not None and len(drafts) != len(vectors):
            raise UserError(f"{len(drafts)} drafts for {len(vectors)} vectors")
        given = {"rounds": rounds, "beam": beam, "effort": effort, "budget": budget}
        changes = {name: value for name, value in given.items() if value is not None}
        inverter = self.with_options(**changes) if changes else self
        found = dict(inverter.stream(vectors, drafts, on_round, knowledge))
        return [found[i] for i in range(len(vectors))]

    def hypothesize(self, vectors: np.ndarray) -> list[str]:
        """The greedy first guess of each vector, float32 [n, dim]."""
        if self.hypothesizer is None:
            raise UserError("the inverter has no network that writes first guesses")
        return self.networks.hypothesize([t.vector for t in self._targets(vectors, None)])

    @property
    def price(self) -> str:
        """The most that a vector costs if another machine judges; empty if none does."""
        if self.alignment is None or self.embedder.model is not None:
            return ""
        own = self.options.budget
        most = (self._search.default_budget if own == UNLIMITED else own).embeddings
        limit = f"{most:,.0f} texts" if most < float("inf") else "any number"
        return f"{self.embedder.name} judges: at most {limit} a vector, about 12 tokens each"

    def fingerprint(self) -> str:
        """A hash of the weights, the dictionary, the embedder and the alignment."""
        networks = [n for n in (self.hypothesizer, self.corrector) if n is not None]
        tensors = [weight for network in networks for weight in network.unique_weights().values()]
        if known := self.dictionary:
            tensors += [known.states, known.whitening, known.words, known.log_frequency]
        # torch shows the bytes of a row, but not of a single number.
        facts = [x.cpu().reshape(-1).view(torch.uint8).numpy().tobytes() for x in tensors]
        if aligned := self.alignment:
            facts += [aligned.centre.tobytes(), aligned.weights.tobytes()]
        return digest(self.embedder.info.fingerprint, *facts)

    def check(self, vectors: np.ndarray) -> None:
        """Raise a UserError if vectors are not [n, dim], or a row is zero or not finite."""
        check_vectors(vectors, self.embedder.info)

    def stream(
        self,
        vectors: Iterable[np.ndarray],
        drafts: Iterable[str] | None = None,
        on_round: OnRound | None = None,
        knowledge: Knowledge | None = None,
    ) -> Iterator[tuple[int, Inversion]]:
        """Invert vectors [dim] as they come, a batch at a time. Yields each position and inversion
        as soon as its search is over, so out of order."""
        targets, guesses = self._targets(vectors, drafts, knowledge), self._guesses
        untold, own = len(guesses) < FEW, not (drafts or knowledge or self.defence)
        for i, found in self._search.stream(targets, self.options, on_round):
            if own and len(guesses) < FIRST:
                guesses.append(found.rounds[0].cosine)
                if untold and len(guesses) == FIRST:
                    self._doubt()
            yield i, replace(found, unseen=self.embedder.unseen(found.text))
        if untold and FEW <= len(guesses) < FIRST:
            self._doubt()

    def _doubt(self) -> None:
        """Warn if no first guess comes near its vector."""
        scale = 1.0 if self.alignment is None else self.alignment.scale
        if 1 - (1 - max(self._guesses)) / scale < self.networks.near:
            print(
                f"nanov2t: the vectors do not look like those of {self.embedder.name}: no first "
                f"guess of {len(self._guesses)} comes near; name the model that made them with "
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
        rows, info = zip(vectors, given, strict=False), self.embedder.info
        judge = Judge(knowledge=knowledge)
        if self.alignment is not None:
            judge = Judge(self.embedder, self.alignment, knowledge, self.reader)
        for first in itertools.count(0, CHUNK):
            if not (chunk := list(itertools.islice(rows, CHUNK))):
                return
            array, texts = np.stack([vector for vector, _ in chunk]), [draft for _, draft in chunk]
            tolerance = self.options.tolerance
            yield from prepare_targets(array, info, self.defence, texts, first, judge, tolerance)
