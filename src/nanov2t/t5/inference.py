"""Inference: sequence beam search (Morris et al. 2023, section 3.2), ours and the published one.

    round 0        the hypothesizer writes first hypotheses
    every round    the corrector rewrites the best hypotheses so far, and the embedder judges them

`beam` keeps the best texts so far, so an answer never gets worse, rewrites no hypothesis twice and
embeds no text twice. `exhaustive` is nanoV2T's own loop, kept to compare with: from a greedy first
hypothesis on, every round rewrites the `beam` best unique hypotheses of the round before into
`beam` each and embeds them all again. Only |cosine - 1| < tolerance ends it early, and the answer
is the last round's best, so it may get worse.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from nanov2t.core.errors import UserError
from nanov2t.core.files import replacing
from nanov2t.embedders.base import Embedder
from nanov2t.embedders.text import decode_texts
from nanov2t.fast import packed, search_dtype
from nanov2t.models.hub import locate, network_folder
from nanov2t.pretrained import BUNDLED
from nanov2t.search.loop import BestSoFar, Proposer, Ranking, RoundSearch, Search, best, judge
from nanov2t.search.options import EXHAUSTIVE_ROUNDS, ROUNDS, Effort
from nanov2t.search.state import EmbeddedHypothesis, SearchState, Stopped
from nanov2t.t5.checkpoints import RELEASES, load_tokenizer, release_of
from nanov2t.t5.generator import Generator

SEARCHES = ("beam", "exhaustive")
FIRST = 4  # first hypotheses for each place in the pool: wide early, narrow late
WIDTH = 2  # hypotheses rewritten in a round after the corrector wrote the best one; otherwise one
GREEDY = 512  # greedy first hypotheses written at a time
BATCH = {"cpu": 32, "cuda": 512}  # vectors searched at a time: enough to keep a device busy
ROWS = {"cpu": 64, "cuda": 1024}  # hypotheses that pass through a generator at a time, likewise


@dataclass(frozen=True)
class Pair:
    """The two stages of an inverter. They are the same object if one network is both."""

    embedder: Embedder  # judges the hypotheses
    hypothesizer: Writer | None  # None if searches start from drafts
    corrector: Writer | None  # None if there is only round 0
    effort: Effort = "default"

    @property
    def batch(self) -> int:
        writer = self.hypothesizer or self.corrector
        return BATCH.get(writer.device.type if writer else "cpu", BATCH["cpu"])

    def hypothesize(self, targets: Sequence[np.ndarray]) -> list[str]:
        """The greedy first hypothesis of each target, float32 [dim]; none without a
        hypothesizer."""
        if self.hypothesizer is None:
            return []
        parts = (targets[i : i + GREEDY] for i in range(0, len(targets), GREEDY))
        return [str(t) for part in parts for [t] in self.hypothesizer.hypothesize(part, 1)]


def make_search(name: str, pair: Pair) -> Search:
    """The search of that name over a pair; `default` is beam. A UserError if there is none."""
    if name not in ("default", *SEARCHES):
        raise UserError(f"search {name}: not one of default, {', '.join(SEARCHES)}")
    exhaustive, embedder = name == "exhaustive", pair.embedder
    proposers: list[Proposer] = [FirstHypotheses(pair.hypothesizer, 0 if exhaustive else FIRST)]
    if pair.corrector is not None:
        proposers.append((RewriteAll if exhaustive else Corrector)(pair.corrector))
    if exhaustive:
        ranking = LastRound(embedder)
        return RoundSearch(proposers, ranking, stop_exhaustive, EXHAUSTIVE_ROUNDS, pair.batch)
    return RoundSearch(proposers, BestSoFar(embedder), stop, ROUNDS[pair.effort], pair.batch)


class FirstHypotheses(Proposer):
    """Opens each search with its draft, or with `width` hypotheses for each place in the pool by
    beam search; with one greedy hypothesis if `width` is 0 or the pool has one place; with an empty
    text if there is no writer."""

    name = "hypothesizer"

    def __init__(self, writer: Writer | None, width: int):
        self.writer, self.width = writer, width

    def propose(self, states: Sequence[SearchState]) -> list[list[str]]:
        proposed = [[] if state.pool else [state.target.draft or ""] for state in states]
        bare = [i for i, s in enumerate(states) if not s.pool and s.target.draft is None]
        if self.writer is not None and bare:
            beam = states[0].options.beam
            beams = self.width * beam if self.width and beam > 1 else 1
            written = self.writer.hypothesize([states[i].target.vector for i in bare], beams)
            for i, texts in zip(bare, written, strict=True):
                proposed[i] = texts
        return proposed

    def exhausted(self, state: SearchState) -> bool:
        return bool(state.pool)


class Corrector(Proposer):
    """Writes the `beam` best corrections of the best hypotheses that it has not rewritten
    before."""

    name = "corrector"

    def __init__(self, writer: Writer):
        self.writer = writer
        self._rewritten: WeakKeyDictionary[SearchState, set[str]] = WeakKeyDictionary()

    def propose(self, states: Sequence[SearchState]) -> list[list[str]]:
        work = [(i, chosen) for i, state in enumerate(states) for chosen in self.choose(state)]
        corrections = self.writer.correct(
            [states[i].target.vector for i, _ in work],
            [hypothesis.text for _, hypothesis in work],
            [hypothesis.vector for _, hypothesis in work],
            beams=states[0].options.beam,
        )
        proposed: list[list[str]] = [[] for _ in states]
        for (i, _), written in zip(work, corrections, strict=True):
            proposed[i] += written
        return proposed

    def choose(self, state: SearchState) -> list[EmbeddedHypothesis]:
        """The hypotheses to rewrite."""
        rewritten = self._rewritten.setdefault(state, set())
        written = [text for texts in state.proposed.values() for text in texts]
        width = WIDTH if state.pool and state.pool[0].text in written else 1
        fresh = [h for h in state.pool if h.text not in rewritten][:width]
        rewritten.update(hypothesis.text for hypothesis in fresh)
        return fresh

    def exhausted(self, state: SearchState) -> bool:
        return all(h.text in self._rewritten.get(state, ()) for h in state.pool)


class RewriteAll(Corrector):
    """Rewrites the whole pool in every round."""

    def choose(self, state: SearchState) -> list[EmbeddedHypothesis]:
        return state.pool

    def exhausted(self, state: SearchState) -> bool:
        return False


class LastRound(Ranking):
    """The pool holds the best texts of the last round alone; every text is embedded anew."""

    def rank(self, states: Sequence[SearchState], suggested: Sequence[Sequence[str]]) -> None:
        vectors = iter(self.embedder.encode([text for texts in suggested for text in texts]))
        for state, texts in zip(states, suggested, strict=True):
            judged = judge(state, texts, list(itertools.islice(vectors, len(texts))))
            unique = {hypothesis.text: hypothesis for hypothesis in judged}
            state.pool = best(unique.values(), state.options.beam)
            state.embedder_calls += len(texts)


def stop(state: SearchState, exhausted: bool) -> Stopped | None:
    """A search ends when its best text is exact, its rounds or budget are used up, or no hypothesis
    is left to rewrite."""
    if state.pool[0].cosine >= 1 - state.target.tolerance:
        return "exact"
    return state.used_up() or ("converged" if exhausted else None)


def stop_exhaustive(state: SearchState, exhausted: bool) -> Stopped | None:
    """A search ends when its best text is exact or its rounds are used up."""
    if abs(state.pool[0].cosine - 1) < state.target.tolerance:
        return "exact"
    return "converged" if exhausted else state.used_up()


class Written(str):
    """A text, with the token ids it was written in: other ids may decode to the same text."""

    ids: list[int]  # with the closing token if one was written, without the start token


class Writer:
    """A generator as the search uses it: vectors and texts in, texts as the embedder sees them out.
    It is a packed copy in the device's fastest number format, unless the generator is to decode by
    transformers."""

    def __init__(self, generator: Generator, tokenizer: Any, embedder: Embedder):
        self._generator, self.tokenizer, self.embedder = generator, tokenizer, embedder
        self.device = generator.device
        self.dtype = search_dtype(self.device) if generator.fast else generator.words.dtype

    @cached_property
    def generator(self) -> Generator:
        if not self._generator.fast:
            return self._generator
        same = self._generator.words.dtype == self.dtype
        return packed(self._generator if same else copy.deepcopy(self._generator).to(self.dtype))

    @torch.inference_mode()
    def hypothesize(self, targets: Sequence[np.ndarray], beams: int) -> list[list[str]]:
        """The `beams` best first hypotheses of each target, float32 [dim], best first."""
        return self._write(beams, self._tensor(targets))

    @torch.inference_mode()
    def correct(
        self,
        targets: Sequence[np.ndarray],
        drafts: Sequence[str],
        vectors: Sequence[np.ndarray],
        beams: int,
    ) -> list[list[str]]:
        """The `beams` best corrections of each draft, best first, given its target and its own
        vector, float32 [dim] each."""
        corrections, rows = [], ROWS.get(self.device.type, ROWS["cpu"])
        for start in range(0, len(drafts), rows):
            part = slice(start, start + rows)
            given = self._tensor(targets[part]), self._tensor(vectors[part])
            corrections += self._write(beams, *given, *self.read(drafts[part]))
        return corrections

    def read(self, drafts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Drafts as the generator was trained to read them: ids and mask, long [n, t]. Every batch
        has the same width, on which rounding depends."""
        config, eos = self._generator.config, self._generator.eos_token_id
        cut = {"add_special_tokens": False, "truncation": True, "max_length": config.max_tokens}
        rows = [[*row, eos] for row in self.tokenizer([str(d) for d in drafts], **cut)["input_ids"]]
        width, fill = config.max_tokens + 1, 0
        if config.reads_written:
            width, fill = config.max_length, int(self._generator.t5.config.decoder_start_token_id)
            own = (getattr(draft, "ids", row) for draft, row in zip(drafts, rows, strict=True))
            rows = [[fill, *row][:width] for row in own]
        ids = torch.tensor([row + [fill] * (width - len(row)) for row in rows])
        mask = torch.arange(width) < torch.tensor([len(row) for row in rows])[:, None]
        if config.reads_written:
            mask = ids != fill
        return ids.to(self.device), mask.long().to(self.device)

    def _tensor(self, vectors: Sequence[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.stack(vectors).astype(np.float32)).to(self.device, self.dtype)

    def _write(self, beams: int, *given: Tensor) -> list[list[str]]:
        ids = self.generator.generate(*given, num_beams=beams, num_return_sequences=beams)
        rows, eos = ids[:, 1:].tolist(), self._generator.eos_token_id
        rows = [row[: row.index(eos) + 1] if eos in row else row for row in rows]
        texts = [Written(text) for text in decode_texts(rows, self.tokenizer, self.embedder)]
        for text, row in zip(texts, rows, strict=True):
            text.ids = row
        return [list(texts[i : i + beams]) for i in range(0, len(texts), beams)]


def load_pair(
    name: str | Path, hypothesizer: str | Path | None = None
) -> tuple[Generator | None, Generator | None, Any]:
    """The hypothesizer, the corrector (the same object if one network is both) and the tokenizer,
    on the CPU; see :func:`nanov2t.load.load_inverter`. A UserError if there is no such inverter, it
    is damaged, or its parts do not fit together."""
    folders = _folders(name)
    if hypothesizer is not None:
        folders = [_folders(hypothesizer)[0], folders[-1]]
    generators = [Generator.from_pretrained(folder) for folder in folders]
    first = next((g for g in generators if g.config.hypothesizes), None)
    second = next((g for g in reversed(generators) if g.config.corrects), None)
    if hypothesizer is not None:
        first, second = generators
        if not second.config.corrects:
            raise UserError(f"inverter {name}: has no corrector, so --hypothesizer cannot be used")
        if not first.config.hypothesizes:
            raise UserError(f"hypothesizer {hypothesizer}: is a corrector")
    if release := release_of(str(name)):
        for generator in generators:
            # Some configs name their embedder by a path of their authors'.
            if generator.config.dim == release.embedder.dim:
                generator.config = dataclasses.replace(generator.config, embedder=release.embedder)
    tokenizer = load_tokenizer(folders[0])
    if any(load_tokenizer(folder).get_vocab() != tokenizer.get_vocab() for folder in folders[1:]):
        raise UserError(f"inverter {name}: its two networks write in different vocabularies")
    return first, second, tokenizer


def export_pair(
    name: str | Path, out: Path, hypothesizer: str | Path | None = None, int8: bool = True
) -> None:
    """Write generators in our own format: a single one as `out`, a pair as its two subfolders. A
    UserError as of :func:`load_pair`, or if `out` cannot be written."""
    first, second, tokenizer = load_pair(name, hypothesizer)
    if first is not None and second is not None and first is not second:
        with replacing(out) as folder:
            first.save_pretrained(folder / "hypothesizer", tokenizer, int8)
            second.save_pretrained(folder / "corrector", tokenizer, int8)
    elif single := first or second:
        single.save_pretrained(out, tokenizer, int8)


def _folders(name: str | Path) -> list[Path]:
    if release := RELEASES.get(str(name)):
        return [locate(part) for part in (release.hypothesizer, release.corrector) if part]
    folder = BUNDLED.get(str(name)) or locate(name)
    if not folder.is_dir():
        names = ", ".join([*BUNDLED, *RELEASES])
        raise UserError(f"inverter {name}: neither a folder nor one of {names}")
    if (folder / "dictionary").is_dir():
        raise UserError(f"inverter {name}: holds no T5 generator")
    parts = [folder / part for part in ("hypothesizer", "corrector")]
    return [part for part in parts if part.is_dir()] or [network_folder(folder)]
