"""Proposers that change the words or the order of one text: likely edits, and moves of spans."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import lru_cache
from operator import itemgetter
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from nanov2t.models.editor import Edit, Editor, Kind, ScoredDraft, apply, conflict, exchanged
from nanov2t.models.reading import Hypothesizer
from nanov2t.search.loop import Proposer
from nanov2t.search.population import FOREMOST, dice, foremost, fresh, parents, stalled
from nanov2t.search.state import Member, SearchState
from nanov2t.search.sums import offset_of, target_on

KNOWN, MOST = 128, 8
"""Edits that are kept of a member, and that are made together."""
SETS = 6
"""Sets of edits that are drawn for each that is made. The sums of states choose."""
GOING, COMING = (Kind.REPLACE, Kind.DELETE), (Kind.REPLACE, Kind.INSERT)
"""Edits that take a word's state out of the sum, and edits that add one."""
LONGEST_MOVED, SPAN = 48, 12
"""Most tokens of a text that is rearranged (it has 98,000 moves), and of a span."""
CHANCE = 2.0
"""Nats by which chance may favour a move."""
SHYNESS = (0.0, 0.7, 1.4)
"""A move that changes the order of n pairs of words loses one of these, drawn by chance, times the
root of n, in nats: in a text that is nearly right, most words stand nearly where they belong."""
ORDER = 1.5
"""Nats of the language model that a nat of the edit network's is worth."""
LISTED, DEPTH, BEGUN = 512, 3, 8
"""Likeliest moves of a parent at each depth, exchanges that are made together at most, and orders
to which one more is made."""
SWEPT = 32
"""After a round without gain, the foremost texts get this many times more moves. Often only their
order is wrong, and a small language model may like the right one 8 nats less than its rivals."""


class Scored:
    """Scores a population's members once for all proposers, and forgets those that have left."""

    def __init__(self, editor: Editor):
        self.editor = editor
        self._drafts: WeakKeyDictionary[SearchState, tuple[np.ndarray, dict[str, ScoredDraft]]] = (
            WeakKeyDictionary()
        )

    def of(self, state: SearchState, members: Sequence[Member]) -> dict[str, ScoredDraft]:
        """By their texts; members that are too long for the editor are left out."""
        vector, drafts = self._drafts.get(state, (None, {}))
        known: dict[str, ScoredDraft] = {}
        if vector is state.target.vector:  # else they were scored for where it seemed to be
            alive = {member.text for member in state.population}
            known = {text: draft for text, draft in drafts.items() if text in alive}
        lengths = defaultdict(list)
        for member in members:
            if member.text not in known:
                lengths[len(member.row)].append(member)
        for group in lengths.values():
            hidden = torch.stack([member.states for member in group])
            ids = torch.tensor([member.row for member in group], device=hidden.device)
            targets = [state.target.vector] * len(group)
            scored = self.editor.score_states(targets, ids, hidden, KNOWN)
            for member, draft in zip(group, scored, strict=False):  # none if they are too long
                known[member.text] = draft
        self._drafts[state] = state.target.vector, known
        return {member.text: known[member.text] for member in members if member.text in known}


class Children(Proposer):
    """Edits `count` parents by their odds: `edits` single ones from the likeliest on, further ones
    whenever the same parent comes again; and `combinations` sets of edits, drawn by their odds,
    since a text that is wrong in several places seldom gains by mending one of them."""

    name = "children"

    def __init__(self, scored: Scored, count: int, edits: int, combinations: int):
        self.scored, self.editor, self.count = scored, scored.editor, count
        self.edits, self.combinations = edits, combinations
        self._tried: WeakKeyDictionary[SearchState, Counter[str]] = WeakKeyDictionary()

    def suggest(self, state: SearchState) -> list[str]:
        random, tried = dice(state, self.name), self._tried.setdefault(state, Counter())
        members = parents(state, self.count)
        drafts = self.scored.of(state, members)
        rows: list[list[int]] = []
        for member in members:
            if (draft := drafts.get(member.text)) is None:
                continue
            first = tried[member.text]
            tried[member.text] += self.edits * (FOREMOST if foremost(state, member) else 1)
            sets = [[edit] for edit in draft.edits[first : tried[member.text]]]
            if draft.edits:
                drawn = [_draw(draft, random) for _ in range(SETS * self.combinations)]
                promise = self._promise(state, member, drawn).argsort(descending=True, stable=True)
                sets += [drawn[i] for i in promise[: self.combinations].tolist()]
            rows += filter(None, (apply(draft.ids, edits) for edits in sets))
        return self.editor.decode(rows)

    def _promise(
        self, state: SearchState, member: Member, sets: Sequence[Sequence[Edit]]
    ) -> Tensor:
        """About the cosines of a member with sets of edits made, float32 [sets]."""
        hidden, words = member.states.float(), self.editor.word_states
        gone = [(i, e.place + 1) for i, edits in enumerate(sets) for e in edits if e.kind in GOING]
        come = [(i, e.word) for i, edits in enumerate(sets) for e in edits if e.kind in COMING]
        sums = hidden.sum(0).repeat(len(sets), 1)
        if gone:
            i, places = torch.tensor(gone, device=hidden.device).T
            sums.index_add_(0, i, -hidden[places])
        if come:
            i, ids = torch.tensor(come, device=hidden.device).T
            sums.index_add_(0, i, words[ids] + offset_of(member, words))
        cosines: Tensor = sums @ target_on(state, hidden.device) / sums.norm(dim=1)
        return cosines


def _draw(draft: ScoredDraft, random: np.random.Generator) -> list[Edit]:
    """Edits that do not conflict, drawn by their odds; as many as are likely to be right, or a
    few."""
    expected = float((1 / (1 + np.exp(-draft.odds.clip(-30, 30)))).sum())
    temperature = random.choice([0.7, 1.0, 1.5])
    count = 1 + min(int(random.geometric(0.5)), 6)
    if random.random() < 0.4:
        count = max(2, int(random.poisson(min(expected, MOST))))
    noisy = draft.odds / temperature + random.gumbel(size=len(draft.odds))
    made: list[Edit] = []
    for i in np.argsort(-noisy, kind="stable"):
        if not any(conflict(draft.edits[i], edit) for edit in made):
            made.append(draft.edits[i])
        if len(made) >= min(count, MOST):
            break
    return made


class Moves(Proposer):
    """Two spans of each of `count` parents change places; of each parent the `moves` best are
    tried, more of the foremost. A language model says how likely what then stands side by side is,
    by one reading of the text; and so does an edit network, which sees what the embedder made of
    the words. Without either, moves are drawn at random."""

    name = "moves"

    def __init__(self, hypothesizer: Hypothesizer | None, scored: Scored, count: int, moves: int):
        self.hypothesizer, self.scored, self.editor = hypothesizer, scored, scored.editor
        self.count, self.moves = count, moves

    def suggest(self, state: SearchState) -> list[str]:
        random = dice(state, self.name)
        texts: dict[str, None] = {}
        often = SWEPT if stalled(state) else FOREMOST
        members = parents(state, self.count)
        drafts = self.scored.of(state, members)
        for member in members:
            ids = member.ids
            if not 1 < len(ids) <= LONGEST_MOVED:
                continue
            after = self._after(state, member, drafts.get(member.text))
            orders = rearranged(after, random.choice(SHYNESS), random)
            rows = [itemgetter(*order)(ids) for order in orders]
            count = self.moves * (often if foremost(state, member) else 1)
            texts |= dict.fromkeys(fresh(state, self.editor, rows, count))
        return list(texts)

    def _after(self, state: SearchState, member: Member, draft: ScoredDraft | None) -> np.ndarray:
        """Log probabilities of each token, or of the end, after each token, or the beginning,
        float64 [tokens + 1, tokens + 1]."""
        after = np.zeros((len(member.ids) + 1, len(member.ids) + 1))
        if self.hypothesizer is not None and member.fluency is not None:
            reading = self.hypothesizer.read(state.target.vector, state.target.evidence)
            words = torch.tensor([*member.ids, self.hypothesizer.model.config.trunk.sep])
            words = words.to(reading.words.device)
            [odds] = reading.continuations([(member.ids, member.fluency)], words)
            after += odds.double().cpu().numpy()
        if draft is not None and draft.order is not None:
            after += ORDER * draft.order[:-1, 1:]
        return after


def rearranged(
    after: np.ndarray, shyness: float, random: np.random.Generator
) -> list[tuple[int, ...]]:
    """Orders of a text's tokens, by what is gained and by chance, best first: by up to DEPTH
    exchanges, since it may take several before anything is gained."""
    n = len(after) - 1
    every = exchanges(n)
    cost = shyness * np.sqrt(disorder(*every.T))
    found: dict[tuple[int, ...], float] = {}
    begun = {tuple(range(n)): 0.0}
    for _ in range(DEPTH):
        reached: dict[tuple[int, ...], float] = {}
        for order, gained in begun.items():
            words, beginnings = [*order, n], [0, *(i + 1 for i in order)]
            gains = gained + exchange_gains(after[beginnings][:, words], every) - cost
            gains += CHANCE * random.gumbel(size=len(every))
            listed = min(LISTED // len(begun), len(gains))
            for i in np.argpartition(-gains, listed - 1)[:listed].tolist():
                new = exchanged(order, *every[i])
                reached[new] = max(float(gains[i]), reached.get(new, -np.inf))
        best = sorted(reached, key=lambda order: -reached[order])
        begun = {order: reached[order] for order in best[:BEGUN]}
        found = reached | found
    return sorted(found, key=lambda order: -found[order])


def exchange_gains(after: np.ndarray, moves: np.ndarray) -> np.ndarray:
    """About how much likelier what stands side by side becomes, float64 [moves]: `after` is of each
    word after each beginning, [n + 1, n + 1], moves are long [moves, 4]."""
    i, j, k, m = moves.T
    own, apart = np.diagonal(after), j < k
    # What then follows the beginnings that end at i, at m and at j; and at k, if apart.
    made = after[i, k] + after[m, np.where(apart, j, i)] + after[j, m]
    gains: np.ndarray = made - own[i] - own[k] - own[m]
    gains += np.where(apart, after[k, i] - own[j], 0.0)
    return gains


@lru_cache(maxsize=64)
def exchanges(length: int) -> np.ndarray:
    """Every exchange of two spans of at most SPAN tokens, long [exchanges, 4]: the words from i to
    j and those from k to m change places."""
    found = [
        (i, j, k, m)
        for i in range(length)
        for j in range(i + 1, min(length, i + SPAN + 1))
        for k in range(j, length)
        for m in range(k + 1, min(length, k + SPAN) + 1)
    ]
    return np.array(found)


def disorder(i: np.ndarray, j: np.ndarray, k: np.ndarray, m: np.ndarray) -> np.ndarray:
    """Pairs of words that stand in another order after an exchange, long [exchanges]."""
    first, between, second = j - i, k - j, m - k
    pairs: np.ndarray = first * second + between * (first + second)
    return pairs
