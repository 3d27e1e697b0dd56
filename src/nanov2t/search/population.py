"""What evolution keeps of a vector: a population, and in the pool the best of all texts."""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor

from nanov2t.embedders.base import Embedder
from nanov2t.models.editor import Editor
from nanov2t.models.reading import Hypothesizer
from nanov2t.search.loop import Ranking, best, judge
from nanov2t.search.state import FLUENCY, SHORT, EmbeddedHypothesis, Member, SearchState

SIZE, SHORTLIST = 64, 96
"""Members of a population, the fittest of as many texts of the highest cosines."""
GAIN = 1e-4
"""Difference of fitness that counts as a gain."""
NEAR, FOREMOST = 0.99, 4
"""Cosine from which on the nearest text is looked at as closely as the fittest, and how many times
more edits and moves these get."""
CHECKED = 4
"""Texts that are judged exactly together, while one that was judged roughly seems the best."""
ROUGH = 5e-4
"""1 - cosine that the text itself may seem to have when judged roughly (of 200 texts in bfloat16
1.4e-4 at most). One wrong word of 32 may make a smaller difference."""


class Population(Ranking):
    """Keeps a population by fitness, and in the pool the best texts by cosine.

    Texts are judged in the fastest number format, which may move a cosine by 1e-3. The first of the
    pool, and all that may be the text, are judged exactly, so the answer never gets worse. Without
    a hypothesizer, which says how likely a text is, fitness is the cosine alone."""

    def __init__(self, embedder: Embedder, hypothesizer: Hypothesizer | None = None):
        super().__init__(embedder)
        self.hypothesizer = hypothesizer

    def rank(self, states: Sequence[SearchState], suggested: Sequence[Sequence[str]]) -> None:
        for state, texts in zip(states, suggested, strict=True):
            opening = not state.pool
            written = self._written(state, list(dict.fromkeys(texts)))
            # Only a draft may be empty.
            kept = {w: t for w, t in written.items() if (t or opening) and not state.judged(t)}
            judged = self._judge(state, kept)
            if opening:
                tokens = int(np.median([len(member.ids) for member in judged]))
                state.nat = FLUENCY * min(1.0, SHORT / max(1, tokens))
            state.population = self._fittest(state, [*state.population, *judged])
            self._check(state)
            state.progress.append(state.population[0].fitness)

    def _judge(self, state: SearchState, texts: dict[str, str]) -> list[Member]:
        """Embed texts as they are written, note what they are worth, and renew the pool."""
        written = list(texts)
        own, known = read_states(self.embedder, written)
        chosen = self._choose(state, list(texts.values()), own)
        judged = judge(state, [written[i] for i in chosen], own[chosen])
        scale = state.target.judge.scale
        members = [
            Member(h.text, h.cosine, *known[i], scale=scale)
            for i, h in zip(chosen, judged, strict=True)
        ]
        self._note(state, judged)
        state.pool = best([*state.pool, *judged], SIZE)
        return members

    def _written(self, state: SearchState, texts: list[str]) -> dict[str, str]:
        """New texts by how they are written to be judged."""
        return dict(zip(texts, texts, strict=True))

    def _choose(self, state: SearchState, texts: list[str], own: np.ndarray) -> list[int]:
        """Which of some texts to judge, by their vectors [n, dim] from the reader."""
        return list(range(len(texts)))

    def _fittest(self, state: SearchState, members: Sequence[Member]) -> list[Member]:
        """The fittest, fittest first, and the one of the highest cosine."""
        listed = self._read(state, _hopeful(best(members, SHORTLIST)))
        ranked = sorted(listed, key=fittest_first)
        return ranked[:SIZE] if listed[0] in ranked[:SIZE] else [*ranked[: SIZE - 1], listed[0]]

    def _read(self, state: SearchState, members: Sequence[Member]) -> list[Member]:
        """The same members, all of them read by the language model, if there is one."""
        if self.hypothesizer is None:
            return list(members)
        unread = defaultdict(list)
        for i, member in enumerate(members):
            if member.fluency is None:
                unread[len(member.ids)].append(i)
        result = list(members)
        for places in unread.values():
            reading = self.hypothesizer.read(state.target.vector, state.target.evidence)
            fluencies = reading.read([members[i].ids for i in places])
            for i, fluency in zip(places, fluencies, strict=True):
                result[i] = replace(members[i], fluency=fluency, nat=state.nat)
        return result

    def _check(self, state: SearchState) -> None:
        """Judge exactly until the best of the pool was, and no other may be the text."""
        while chosen := _unsure(state)[:CHECKED]:
            texts = [h.text for h in chosen]
            judged = judge(state, texts, list(self.embedder.encode(texts)))
            self._note(state, judged)
            state.exact.update(texts)
            others = [h for h in state.pool if h not in chosen]
            state.pool = best([*others, *judged], len(state.pool))

    def _note(self, state: SearchState, judged: Sequence[EmbeddedHypothesis]) -> None:
        state.embedder_calls += len(judged)
        state.cosines.update((hypothesis.text, hypothesis.cosine) for hypothesis in judged)


def read_states(
    embedder: Embedder, texts: Sequence[str]
) -> tuple[np.ndarray, list[tuple[tuple[int, ...], Tensor]]]:
    """The vectors of texts, float32 [n, dim], and their token ids and states, all of them rough."""
    own = np.zeros((len(texts), embedder.dim), np.float32)
    known: dict[int, tuple[tuple[int, ...], Tensor]] = {}
    for places, ids, hidden in embedder.states_by_length(texts):
        own[places] = embedder.of_mean(hidden.float().mean(1)).cpu().numpy()
        for place, row, h in zip(places, ids.tolist(), hidden, strict=True):
            # A copy, since a view would keep the states of all texts.
            known[place] = (tuple(row), h.clone())
    return own, [known[i] for i in range(len(texts))]


def _unsure(state: SearchState) -> list[EmbeddedHypothesis]:
    """The hypotheses that must be judged exactly before the first one is the answer, best first."""
    rough = [h for h in state.pool if h.text not in state.exact]
    first = state.pool[0]
    if first.text not in state.exact:
        return rough
    found = first.cosine >= 1 - state.target.tolerance
    return [] if found else [h for h in rough if h.cosine >= 1 - ROUGH]


def _hopeful(members: Sequence[Member]) -> list[Member]:
    """Those that were read, and those that would be among the fittest if they were as likely as
    the likeliest of them: reading a text costs more than embedding it."""
    read = [member for member in members if member.fluency is not None]
    if len(read) < SIZE:
        return list(members)
    bar = min(member.fitness for member in read)
    bonus = max(member.fitness - member.closeness for member in read)
    best_one, *others = members
    return [best_one, *(m for m in others if m.fluency is not None or m.closeness + bonus > bar)]


def fittest_first(member: Member) -> tuple[float, str]:
    """Sorts members; ties go by the alphabet."""
    return -member.fitness, member.text


def dice(state: SearchState, purpose: str) -> np.random.Generator:
    """Random numbers that depend on the target, the round and the purpose alone, so that a search
    does not depend on those beside it."""
    target = zlib.crc32(state.target.vector.tobytes())
    return np.random.default_rng([target, len(state.history), zlib.crc32(purpose.encode())])


def stalled(state: SearchState) -> int:
    """Rounds since the best fitness of the population last grew."""
    progress = state.progress
    return sum(1 for fitness in progress[:-1] if fitness > progress[-1] - GAIN)


def parents(state: SearchState, count: int) -> list[Member]:
    """The fittest member of a population, another one, that of the highest cosine, and further
    ones, the likelier the better they rank by fitness or cosine. Empty before the first guess."""
    population, n = state.population, len(state.population)
    if not population:
        return []
    nearest = np.argsort([-member.cosine for member in population], kind="stable")
    weights = 1 / (1 + np.minimum(np.argsort(nearest), np.arange(n)))
    chances = weights / weights.sum()
    drawn = dice(state, "parents").choice(n, min(count, n), replace=False, p=chances)
    places = [0, *drawn[:1].tolist(), int(nearest[0]), *drawn[1:].tolist()]
    return [population[i] for i in list(dict.fromkeys(places))[:count]]


def foremost(state: SearchState, member: Member) -> bool:
    """Whether a member is the fittest of the population, or that of the highest cosine and NEAR:
    even a text that the language model dislikes may be one edit away from the target."""
    if member is state.population[0]:
        return True
    return member.closeness == max(NEAR, *(other.closeness for other in state.population))


def unseen(state: SearchState, texts: Sequence[str], count: int) -> list[str]:
    """The first `count` of the texts that were not judged before."""
    return [text for text in dict.fromkeys(texts) if not state.judged(text)][:count]


def fresh(
    state: SearchState, editor: Editor, rows: Sequence[Sequence[int]], count: int
) -> list[str]:
    """The same of texts given as token ids, of which no more are decoded than it takes."""
    texts: list[str] = []
    for start in range(0, len(rows), 2 * count):
        decoded = editor.decode(rows[start : start + 2 * count])
        texts = unseen(state, [*texts, *decoded], count)
        if len(texts) == count:
            break
    return texts
