"""Drafts to scored edits, by an edit network or by a dictionary alone."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from nanov2t.embedders.base import Embedder
from nanov2t.embedders.text import decode_texts
from nanov2t.fast import packed, search_dtype
from nanov2t.models.dictionary import Dictionary
from nanov2t.models.edit_network import DELETE, KEEP, REPLACE, EditNetwork, Edits
from nanov2t.models.edits import Edit, Kind, ScoredDraft
from nanov2t.models.physics import Findings, Physics

ROWS = {"cpu": 32, "cuda": 512}
"""Drafts scored together."""
WORDS = 24
"""Words considered at each place."""
MOVED, DOUBT = 0.5, 3.0
"""Weight of a nat of the order against the log odds of other edits, and nats taken off every move:
moves are many, and would crowd the other edits out."""


class Editor(ABC):
    """Scores edits of drafts by the embedder's states of them."""

    physics: Physics

    def __init__(self, embedder: Embedder):
        self.embedder = embedder
        self.device = embedder.model.device
        self.rows = ROWS.get(self.device.type, ROWS["cpu"])
        self.longest = embedder.max_tokens
        """Tokens of the longest draft it can read, with special ones."""

    @torch.inference_mode()
    def score(
        self, targets: Sequence[np.ndarray], drafts: Sequence[str], count: int
    ) -> list[ScoredDraft]:
        """The `count` likeliest edits of each draft, given its target, float32 [dim]; none if it is
        too long. Only drafts of one length share a batch, so scores do not depend on the others."""
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
        for start in range(0, len(ids), self.rows):
            part = slice(start, start + self.rows)
            goal = torch.from_numpy(np.stack(targets[part])).to(self.device)
            yield from self._score(goal, ids[part], states[part], count)

    @property
    def frequent_words(self) -> list[int]:
        """Token ids, most frequent first."""
        words: list[int] = self.physics.words.tolist()
        return words

    @property
    def word_states(self) -> Tensor:
        """The dictionary's average states, float32 [vocabulary, hidden]."""
        return self.physics.states

    def encode(self, texts: Sequence[str]) -> list[tuple[int, ...]]:
        """Token ids of texts, without special tokens."""
        return [tuple(ids[1:-1]) for ids in self.embedder.tokenize(texts)]

    def decode(self, rows: Sequence[Sequence[int]]) -> list[str]:
        """Token ids to texts as the embedder sees them."""
        return decode_texts(rows, self.embedder.tokenizer, self.embedder) if rows else []

    @abstractmethod
    def _score(
        self, targets: Tensor, ids: Tensor, states: Tensor, count: int
    ) -> Iterator[ScoredDraft]:
        """Takes targets [n, dim], ids [n, t] with special tokens, and states [n, t, hidden]."""


class NetworkEditor(Editor):
    """Scores by an edit network."""

    def __init__(self, network: EditNetwork, dictionary: Dictionary, embedder: Embedder):
        super().__init__(embedder)
        copied = copy.deepcopy(network).to(self.device, search_dtype(self.device))
        copied.read_dictionary(dictionary)  # physics stays in float32
        self.network = packed(copied)
        self.physics = self.network.physics
        self.longest = min(self.longest, network.config.trunk.positions)

    def _score(
        self, targets: Tensor, ids: Tensor, states: Tensor, count: int
    ) -> Iterator[ScoredDraft]:
        mask = torch.ones_like(ids, dtype=torch.bool)
        vectors = self.embedder.of_mean(states.float().mean(1))
        edits = self.network(targets, ids, states, vectors, mask)
        action, insertion = edits.action.log_softmax(-1), edits.insertion.log_softmax(-1)
        odds = Odds(
            *self._replacements(edits, ids, action[..., REPLACE] - action[..., KEEP]),
            *self._insertions(edits, ids, insertion[..., 1] - insertion[..., 0]),
            _moves(edits.order),
            (action[..., DELETE] - action[..., KEEP])[:, 1:-1],
        )
        order = edits.order.cpu().numpy()
        for draft, row in zip(odds.best(ids[:, 1:-1], count), order, strict=True):
            yield replace(draft, order=row)

    def _replacements(self, edits: Edits, ids: Tensor, odds: Tensor) -> tuple[Tensor, Tensor]:
        """Log odds [n, t - 2, WORDS] and ids of the likeliest replacements."""
        n, inner = len(ids), ids.shape[1] - 2
        rows = torch.arange(n, device=ids.device).repeat_interleave(inner)
        places = torch.arange(1, inner + 1, device=ids.device).repeat(n)
        logits = self.network.replacements(edits, rows, places)
        total = logits.logsumexp(-1, keepdim=True)
        logits.scatter_(1, ids[:, 1:-1].reshape(-1, 1), -torch.inf)  # its own word is no edit
        best, words = logits.topk(WORDS, -1)
        best = best - total + odds[:, 1:-1].reshape(-1, 1)
        return best.view(n, inner, WORDS), words.view(n, inner, WORDS)

    def _insertions(self, edits: Edits, ids: Tensor, odds: Tensor) -> tuple[Tensor, Tensor]:
        """Log odds [n, t - 1, WORDS] and ids of the likeliest insertions."""
        n, gaps = odds.shape
        rows = torch.arange(n, device=ids.device).repeat_interleave(gaps)
        places = torch.arange(gaps, device=ids.device).repeat(n)
        logits = self.network.insertions(edits, rows, places)
        logits = logits - logits.logsumexp(-1, keepdim=True) + odds.reshape(-1, 1)
        best, words = logits.topk(WORDS, -1)
        return best.view(n, gaps, WORDS), words.view(n, gaps, WORDS)


def _moves(order: Tensor) -> Tensor:
    """Log odds [n, t - 1, t - 2] of moving each word to each gap, by the order [n, t, t]."""
    own = order.diagonal(1, 1, 2)  # of what follows each token now
    apart = order.diagonal(2, 1, 2) - own[:, :-1] - own[:, 1:]  # where the word is taken away
    gains = order[:, :-1, 1:-1] + order[:, 1:-1, 1:].mT - own[..., None] + apart[:, None]
    return MOVED * gains - DOUBT


class DictionaryEditor(Editor):
    """Scores by how far an edit closes the gap between the draft's states and the target's, and by
    how frequent its words are."""

    def __init__(self, dictionary: Dictionary, embedder: Embedder):
        super().__init__(embedder)
        tokenizer = embedder.tokenizer
        self.physics = Physics(*dictionary.states.shape).to(self.device)
        self.physics.read(dictionary, tokenizer.all_special_ids, search_dtype(self.device))
        self.log_frequency = dictionary.log_frequency.to(self.device)

    def _score(
        self, targets: Tensor, ids: Tensor, states: Tensor, count: int
    ) -> Iterator[ScoredDraft]:
        found: Findings = self.physics(targets, ids, states, torch.ones_like(ids) > 0, WORDS)
        prior = self.log_frequency
        own = prior[ids][:, 1:-1]  # [n, t - 2]
        n, gaps = len(ids), ids.shape[1] - 1
        replaced = found.gains[:, 1:-1] + prior[found.nearest[:, 1:-1]] - own[..., None]
        inserted = found.insertion_gains + prior[found.inserted]
        likely = torch.isin(ids[:, 1:-1], found.inserted)
        moved = torch.where(likely, inserted[:, -1:], -torch.inf)
        deleted = found.deletion_gains[:, 1:-1] - own
        odds = Odds(
            replaced,
            found.nearest[:, 1:-1],
            inserted[:, None].expand(n, gaps, WORDS),
            found.inserted[:, None].expand(n, gaps, WORDS),
            (moved + deleted)[:, None].repeat(1, gaps, 1),
            deleted,
        )
        return odds.best(ids[:, 1:-1], count)


@dataclass(frozen=True)
class Odds:
    """Log odds of the edits of n drafts of m words."""

    replaced: Tensor
    """[n, m, WORDS]."""
    replacements: Tensor
    inserted: Tensor
    """[n, m + 1, WORDS]."""
    insertions: Tensor
    moved: Tensor
    """[n, m + 1, m], of each word to each gap."""
    deleted: Tensor
    """[n, m]."""

    def best(self, ids: Tensor, count: int) -> Iterator[ScoredDraft]:
        """The `count` likeliest edits of each draft, ids long [n, m]."""
        n, m = ids.shape
        moved, words = self.moved, torch.arange(m, device=ids.device)
        moved[:, words, words] = moved[:, words + 1, words] = -torch.inf  # where it stands already
        deleted = self.deleted if m > 1 else torch.full_like(self.deleted, -torch.inf)
        flat = torch.cat([x.flatten(1) for x in (self.replaced, self.inserted, deleted, moved)], 1)
        best, places = flat.topk(min(count, flat.shape[1]), -1)
        sizes = (m * WORDS, (m + 1) * WORDS, m)
        replacements = self.replacements.flatten(1).tolist()
        insertions = self.insertions.flatten(1).tolist()

        def edit(row: int, place: int) -> Edit:
            """The edit at a place of the flattened odds."""
            if place < sizes[0]:
                return Edit(Kind.REPLACE, place // WORDS, replacements[row][place])
            place -= sizes[0]
            if place < sizes[1]:
                return Edit(Kind.INSERT, place // WORDS, insertions[row][place])
            place -= sizes[1]
            if place < sizes[2]:
                return Edit(Kind.DELETE, place, 0)
            gap, word = divmod(place - sizes[2], m)
            return Edit(Kind.MOVE, word, gap)

        for i in range(n):
            edits = [edit(i, place) for place in places[i].tolist()]
            finite = int(best[i].isfinite().sum())
            odds = best[i, :finite].float().cpu().numpy()
            yield ScoredDraft(tuple(ids[i].tolist()), edits[:finite], odds)
