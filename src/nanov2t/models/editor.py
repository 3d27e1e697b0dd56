"""Edits of a draft: an edit network or a dictionary alone scores them."""

from __future__ import annotations

import copy
import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nanov2t.embedders.base import Embedder
from nanov2t.embedders.text import decode_texts
from nanov2t.fast import packed, search_dtype
from nanov2t.models.dictionary import Dictionary, Physics
from nanov2t.models.edit_network import DELETE, KEEP, REPLACE, EditNetwork

ROWS = {"cpu": 32, "cuda": 512}  # drafts scored together
WORDS = 24  # words considered at each place
MOVED, DOUBT = 0.5, 3.0
"""Weight of a nat of the order against the log odds of other edits, and nats taken off every move,
since the many moves would crowd the other edits out."""


class Kind(IntEnum):
    REPLACE = 0
    INSERT = 1
    DELETE = 2
    MOVE = 3


@dataclass(frozen=True)
class Edit:
    """One change of a draft's token ids."""

    kind: Kind
    place: int
    """Index of the token that is replaced, deleted, moved, or has one inserted before it."""
    word: int  # id of the new token; for a move, the index of the token that it goes before


@dataclass(frozen=True)
class ScoredDraft:
    """A draft and its likeliest edits, best first."""

    ids: tuple[int, ...]
    edits: list[Edit]
    odds: np.ndarray  # float32 [edits], log odds of each edit against no edit, in nats
    order: np.ndarray | None = None
    """float32 [tokens + 2, tokens + 2], the log probability that a token, special ones included,
    follows another; None if unknown."""


def apply(ids: Sequence[int], edits: Sequence[Edit]) -> list[int]:
    """The token ids after edits, which must not conflict."""
    replaced = {e.place: e.word for e in edits if e.kind == Kind.REPLACE}
    gone = {e.place for e in edits if e.kind in (Kind.DELETE, Kind.MOVE)}
    inserted = {e.place: e.word for e in edits if e.kind == Kind.INSERT}
    inserted |= {e.word: ids[e.place] for e in edits if e.kind == Kind.MOVE}
    result = []
    for i in range(len(ids) + 1):
        if i in inserted:
            result.append(inserted[i])
        if i < len(ids) and i not in gone:
            result.append(replaced.get(i, ids[i]))
    return result


def conflict(a: Edit, b: Edit) -> bool:
    """Whether two edits touch the same word or fill the same gap."""
    filling = [e for e in (a, b) if e.kind in (Kind.INSERT, Kind.MOVE)]
    gaps = [e.word if e.kind == Kind.MOVE else e.place for e in filling]
    one_word = a.place == b.place and Kind.INSERT not in (a.kind, b.kind)
    return one_word or (len(gaps) == 2 and gaps[0] == gaps[1])


def exchanged(ids: tuple[int, ...], i: int, j: int, k: int, m: int) -> tuple[int, ...]:
    """The tokens with the spans i to j and k to m exchanged; i <= j <= k <= m."""
    return (*ids[:i], *ids[k:m], *ids[j:k], *ids[i:j], *ids[m:])


class Editor(ABC):
    """Scores edits of drafts by the embedder's states of them."""

    physics: Physics

    def __init__(self, embedder: Embedder):
        self.embedder = embedder
        self.device = embedder.model.device
        self.longest = embedder.max_tokens  # of a draft, with special tokens

    @torch.inference_mode()
    def score(
        self, targets: Sequence[np.ndarray], drafts: Sequence[str], count: int
    ) -> list[ScoredDraft]:
        """The `count` likeliest edits of each draft for its target, float32 [dim]; none if it is
        too long. Only drafts of one length share a batch, so scores do not depend on other
        drafts."""
        scored = [ScoredDraft((), [], np.zeros(0, np.float32))] * len(drafts)
        for places, ids, states in self.embedder.states_by_length(drafts):
            found = self.score_states([targets[i] for i in places], ids, states, count)
            for i, draft in zip(places, found, strict=False):  # none where they are too long
                scored[i] = draft
        return scored

    @torch.inference_mode()
    def score_states(
        self, targets: Sequence[np.ndarray], ids: Tensor, states: Tensor, count: int
    ) -> Iterator[ScoredDraft]:
        """The same for drafts of one length: ids long [n, t] with special tokens, and their states
        [n, t, hidden]."""
        if ids.shape[1] > self.longest:
            return
        rows = ROWS.get(self.device.type, ROWS["cpu"])
        for start in range(0, len(ids), rows):
            part = slice(start, start + rows)
            goal = torch.from_numpy(np.stack(targets[part])).to(self.device)
            odds, order = self._odds(goal, ids[part], states[part])
            orders = itertools.repeat(None) if order is None else order.cpu().numpy()
            for draft, own in zip(odds.best(ids[part, 1:-1], count), orders, strict=False):
                yield replace(draft, order=own)

    @property
    def frequent_words(self) -> list[int]:
        """Token ids, most frequent first."""
        words: list[int] = self.physics.words.tolist()
        return words

    @property
    def word_states(self) -> Tensor:
        """The dictionary's average states, float32 [vocabulary, hidden]."""
        return self.physics.states

    def decode(self, rows: Sequence[Sequence[int]]) -> list[str]:
        """Token ids to texts as the embedder sees them."""
        return decode_texts(rows, self.embedder.tokenizer, self.embedder) if rows else []

    @abstractmethod
    def _odds(self, targets: Tensor, ids: Tensor, states: Tensor) -> tuple[Odds, Tensor | None]:
        """The odds, and the order [n, t, t] if known, for targets [n, dim], ids [n, t] with special
        tokens, and states [n, t, hidden]."""


class NetworkEditor(Editor):
    """Scores edits by a network."""

    def __init__(self, network: EditNetwork, dictionary: Dictionary, embedder: Embedder):
        super().__init__(embedder)
        copied = copy.deepcopy(network).to(self.device, search_dtype(self.device))
        copied.read_dictionary(dictionary)  # physics stays in float32
        self.network = packed(copied)
        self.physics = self.network.physics
        self.longest = min(self.longest, network.config.trunk.positions)

    def _odds(self, targets: Tensor, ids: Tensor, states: Tensor) -> tuple[Odds, Tensor | None]:
        mask = torch.ones_like(ids, dtype=torch.bool)
        vectors = self.embedder.of_mean(states.float().mean(1))
        edits = self.network(targets, ids, states, vectors, mask)
        action, insertion = edits.action.log_softmax(-1), edits.insertion.log_softmax(-1)
        n, t = ids.shape
        inner, gaps = _places(n, 1, t - 1, ids.device), _places(n, 0, t - 1, ids.device)

        logits = self.network.replacements(edits, *inner)
        total = logits.logsumexp(-1, keepdim=True)
        logits.scatter_(1, ids[inner][:, None], -torch.inf)  # its own word is no edit
        replaced, replacements = logits.topk(WORDS, -1)
        odds = action[..., REPLACE] - action[..., KEEP]
        replaced = replaced - total + odds[inner][:, None]

        logits = self.network.insertions(edits, *gaps)
        odds = insertion[..., 1] - insertion[..., 0]
        logits = logits - logits.logsumexp(-1, keepdim=True) + odds.reshape(-1, 1)
        inserted, insertions = logits.topk(WORDS, -1)
        deleted = (action[..., DELETE] - action[..., KEEP])[:, 1:-1]
        replaced, replacements = (x.view(n, t - 2, WORDS) for x in (replaced, replacements))
        inserted, insertions = (x.view(n, t - 1, WORDS) for x in (inserted, insertions))
        moved = _moves(edits.order)
        return Odds(replaced, replacements, inserted, insertions, moved, deleted), edits.order


def _places(n: int, first: int, last: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Rows and places, long [n * places] each, of the places `first` to `last` in n rows."""
    places = torch.arange(first, last, device=device)
    return torch.arange(n, device=device).repeat_interleave(len(places)), places.repeat(n)


def _moves(order: Tensor) -> Tensor:
    """Log odds [n, t - 1, t - 2] of moving each word to each gap, by the order [n, t, t]."""
    own = order.diagonal(1, 1, 2)  # of what follows each token now
    apart = order.diagonal(2, 1, 2) - own[:, :-1] - own[:, 1:]  # where the word is taken away
    gains = order[:, :-1, 1:-1] + order[:, 1:-1, 1:].mT - own[..., None] + apart[:, None]
    return MOVED * gains - DOUBT


class DictionaryEditor(Editor):
    """Scores edits by how far they close the gap between the draft's states and the target's, and
    by the frequency of their words."""

    def __init__(self, dictionary: Dictionary, embedder: Embedder):
        super().__init__(embedder)
        special = embedder.tokenizer.all_special_ids
        self.physics = Physics().to(self.device)
        self.physics.read(dictionary, special, search_dtype(self.device))
        self.log_frequency = dictionary.log_frequency.to(self.device)

    def _odds(self, targets: Tensor, ids: Tensor, states: Tensor) -> tuple[Odds, Tensor | None]:
        found = self.physics(targets, ids, states, torch.ones_like(ids) > 0, WORDS)
        prior, gaps = self.log_frequency, ids.shape[1] - 1
        own = prior[ids][:, 1:-1]  # [n, t - 2]
        nearest = found.nearest[:, 1:-1]
        replaced = found.gains[:, 1:-1] + prior[nearest] - own[..., None]
        inserted = found.insertion_gains + prior[found.inserted]
        likely = torch.isin(ids[:, 1:-1], found.inserted)
        moved = torch.where(likely, inserted[:, -1:], -torch.inf)
        deleted = found.deletion_gains[:, 1:-1] - own
        inserted, insertions, moved = (
            x[:, None].repeat(1, gaps, 1) for x in (inserted, found.inserted, moved + deleted)
        )
        return Odds(replaced, nearest, inserted, insertions, moved, deleted), None


class Odds(NamedTuple):
    """Log odds of the edits of n drafts of m words."""

    replaced: Tensor  # [n, m, WORDS]
    replacements: Tensor
    inserted: Tensor  # [n, m + 1, WORDS]
    insertions: Tensor
    moved: Tensor  # [n, m + 1, m], of each word to each gap
    deleted: Tensor  # [n, m]

    def best(self, ids: Tensor, count: int) -> Iterator[ScoredDraft]:
        """The `count` likeliest edits of each draft, ids long [n, m]."""
        m = ids.shape[1]
        moved, words = self.moved, torch.arange(m, device=ids.device)
        moved[:, words, words] = moved[:, words + 1, words] = -torch.inf  # where it stands already
        deleted = self.deleted if m > 1 else torch.full_like(self.deleted, -torch.inf)
        flat = torch.cat([x.flatten(1) for x in (self.replaced, self.inserted, deleted, moved)], 1)
        best, places = flat.topk(min(count, flat.shape[1]), -1)
        written = torch.cat([self.replacements.flatten(1), self.insertions.flatten(1)], 1).tolist()
        inserted, deletions, moves = m * WORDS, (2 * m + 1) * WORDS, (2 * m + 1) * WORDS + m

        def edit(row: int, place: int) -> Edit:
            if place < inserted:
                return Edit(Kind.REPLACE, place // WORDS, written[row][place])
            if place < deletions:
                return Edit(Kind.INSERT, (place - inserted) // WORDS, written[row][place])
            if place < moves:
                return Edit(Kind.DELETE, place - deletions, 0)
            gap, word = divmod(place - moves, m)
            return Edit(Kind.MOVE, word, gap)

        for i, row in enumerate(ids.tolist()):
            finite = int(best[i].isfinite().sum())
            edits = [edit(i, place) for place in places[i, :finite].tolist()]
            yield ScoredDraft(tuple(row), edits, best[i, :finite].float().cpu().numpy())
