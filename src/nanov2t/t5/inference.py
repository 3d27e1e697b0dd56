"""Inference: sequence beam search (Morris et al. 2023, section 3.2), ours and the published one.

The hypothesizer writes the first texts. Then in every round the corrector rewrites the best texts,
and the embedder judges them. `beam` keeps the best so far, so an answer never gets worse, rewrites
no text twice and embeds none twice. `exhaustive` is nanoV2T's own loop, for comparison: from one
greedy text on, every round rewrites the `beam` best texts of the last round into `beam` each and
embeds all of them. It ends early only if a text is exact, and its answers may get worse.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
from collections.abc import Sequence
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
from nanov2t.inverter import Networks
from nanov2t.models.hub import locate, network_folder
from nanov2t.pretrained import BUNDLED
from nanov2t.search.loop import BestSoFar, Proposer, Ranking, RoundSearch, Search, best, judge
from nanov2t.search.options import EXHAUSTIVE_ROUNDS, ROUNDS, SearchOptions
from nanov2t.search.state import EmbeddedHypothesis, SearchState, Stopped
from nanov2t.t5.checkpoints import RELEASES, load_tokenizer, release_of
from nanov2t.t5.generator import Generator

SEARCHES = ("beam", "exhaustive")
FIRST = 4  # first hypotheses for each place in the pool: wide early, narrow late
WIDTH = 2  # hypotheses rewritten in a round after the corrector wrote the best one; otherwise one
GREEDY = 512  # greedy first hypotheses written at a time
BATCH = {"cpu": 32, "cuda": 512}  # vectors searched at a time: enough to keep a device busy
ROWS = {"cpu": 64, "cuda": 1024}  # hypotheses that pass through a generator at a time, likewise


class Pair(Networks):
    """A hypothesizer and a corrector. Searches start from drafts if the first is None, and have
    only round 0 if the second is; one network may be both."""

    def __init__(
        self,
        embedder: Embedder,
        tokenizer: Any,
        hypothesizer: Generator | None,
        corrector: Generator | None,
    ):
        self.embedder = self.reader = embedder
        self.tokenizer, self.hypothesizer, self.corrector = tokenizer, hypothesizer, corrector
        pair = (hypothesizer, corrector)
        writers: dict[Any, Writer] = {g: Writer(g, tokenizer, embedder) for g in pair if g}
        self._first, self._second = (writers.get(generator) for generator in pair)

    def search(self, options: SearchOptions) -> Search:
        if options.search not in ("default", *SEARCHES):
            known = ", ".join(("default", *SEARCHES))
            raise UserError(f"search {options.search}: not one of {known}")
        exhaustive, writer = options.search == "exhaustive", self._first or self._second
        batch = BATCH["cuda" if writer and writer.device.type == "cuda" else "cpu"]
        proposers: list[Proposer] = [FirstHypotheses(self._first, 0 if exhaustive else FIRST)]
        if self._second is not None:
            proposers.append(Corrector(self._second, every=exhaustive))
        if exhaustive:
            return RoundSearch(proposers, LastRound(self.embedder), stop, EXHAUSTIVE_ROUNDS, batch)
        ranking, rounds = BestSoFar(self.embedder), ROUNDS[options.effort]
        return RoundSearch(proposers, ranking, stop, rounds, batch)

    def hypothesize(self, targets: Sequence[np.ndarray]) -> list[str]:
        assert self._first is not None
        parts = (targets[i : i + GREEDY] for i in range(0, len(targets), GREEDY))
        return [str(text) for part in parts for [text] in self._first.hypothesize(part, 1)]


class FirstHypotheses(Proposer):
    """Opens each search with its draft. Without a draft it writes `width` hypotheses for each place
    in the pool by beam search, or a greedy one if `width` is 0 or there is one place. Without a
    writer it starts from an empty text."""

    name = "hypothesizer"

    def __init__(self, writer: Writer | None, width: int):
        self.writer, self.width = writer, width

    def propose(self, states: Sequence[SearchState]) -> list[list[str]]:
        proposed = [[] if state.pool else [state.target.draft or ""] for state in states]
        bare = [i for i, s in enumerate(states) if not s.pool and s.target.draft is None]
        if self.writer is not None and bare:
            beam = states[0].options.beam
            beams = max(1, self.width * beam) if beam > 1 else 1
            written = self.writer.hypothesize([states[i].target.vector for i in bare], beams)
            for i, texts in zip(bare, written, strict=True):
                proposed[i] = texts
        return proposed

    def exhausted(self, state: SearchState) -> bool:
        return bool(state.pool)


class Corrector(Proposer):
    """Writes the `beam` best corrections of each of the best hypotheses that it has not rewritten
    before, or in `every` round of the whole pool."""

    name = "corrector"

    def __init__(self, writer: Writer, every: bool = False):
        self.writer, self.every = writer, every
        self._rewritten: WeakKeyDictionary[SearchState, set[str]] = WeakKeyDictionary()

    def propose(self, states: Sequence[SearchState]) -> list[list[str]]:
        work = [(i, chosen) for i, state in enumerate(states) for chosen in self._choose(state)]
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

    def _choose(self, state: SearchState) -> list[EmbeddedHypothesis]:
        if self.every:
            return state.pool
        rewritten = self._rewritten.setdefault(state, set())
        written = [text for texts in state.proposed.values() for text in texts]
        width = WIDTH if state.pool and state.pool[0].text in written else 1
        fresh = [h for h in state.pool if h.text not in rewritten][:width]
        rewritten.update(hypothesis.text for hypothesis in fresh)
        return fresh

    def exhausted(self, state: SearchState) -> bool:
        rewritten = self._rewritten.get(state, ())
        return not self.every and all(h.text in rewritten for h in state.pool)


class LastRound(Ranking):
    """Keeps only the best texts of the last round, and embeds every text anew."""

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


class Written(str):
    """A text with the token ids it was written in; other ids may decode to the same text."""

    ids: list[int]  # with the closing token if one was written, without the start token


class Writer:
    """A generator for searches: it reads vectors and texts, and writes texts as the embedder sees
    them. Unless it decodes by transformers, it is a packed copy in the device's fastest number
    format."""

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
        """The `beams` best corrections of each draft, best first, by its target and its own vector,
        float32 [dim] each."""
        corrections, rows = [], ROWS["cuda" if self.device.type == "cuda" else "cpu"]
        for start in range(0, len(drafts), rows):
            part = slice(start, start + rows)
            given = self._tensor(targets[part]), self._tensor(vectors[part])
            corrections += self._write(beams, *given, *self.read(drafts[part]))
        return corrections

    def read(self, drafts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Drafts as the generator was trained to read them: ids and mask, long [n, t]. The width is
        always the same, since rounding depends on it."""
        config, eos = self._generator.config, self._generator.eos_token_id
        cut = {"add_special_tokens": False, "truncation": True, "max_length": config.max_tokens}
        rows = [[*row, eos] for row in self.tokenizer([str(d) for d in drafts], **cut)["input_ids"]]
        width, fill = config.max_tokens + 1, 0
        if config.reads_written:
            width, fill = config.max_length, int(self._generator.t5.config.decoder_start_token_id)
            own = (getattr(draft, "ids", row) for draft, row in zip(drafts, rows, strict=True))
            rows = [[fill, *row][:width] for row in own]
        ids = torch.tensor([row + [fill] * (width - len(row)) for row in rows])
        ends = torch.tensor([len(row) for row in rows])[:, None]
        mask = ids != fill if config.reads_written else torch.arange(width) < ends
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
    on the CPU; see :func:`nanov2t.load.load_inverter`. Raises a UserError if there is no such
    inverter, it is damaged, or its parts do not fit together."""
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
    release, tokenizer = release_of(str(name)), load_tokenizer(folders[0])
    for generator in generators:
        # Some configs name their embedder by a path of their authors'.
        if release and generator.config.dim == release.embedder.dim:
            generator.config = dataclasses.replace(generator.config, embedder=release.embedder)
    if any(load_tokenizer(folder).get_vocab() != tokenizer.get_vocab() for folder in folders[1:]):
        raise UserError(f"inverter {name}: its two networks write in different vocabularies")
    return first, second, tokenizer


def export_pair(
    name: str | Path, out: Path, hypothesizer: str | Path | None = None, int8: bool = True
) -> None:
    """Write a single generator as `out`, or a pair as its two subfolders, in our own format. Raises
    a UserError as :func:`load_pair`, or if `out` cannot be written."""
    first, second, tokenizer = load_pair(name, hypothesizer)
    if first is None or second is None or first is second:
        (first or second).save_pretrained(out, tokenizer, int8)  # type: ignore[union-attr]
        return
    with replacing(out) as folder:
        first.save_pretrained(folder / "hypothesizer", tokenizer, int8)
        second.save_pretrained(folder / "corrector", tokenizer, int8)


def _folders(name: str | Path) -> list[Path]:
    """The folders of an inverter's generators."""
    if release := RELEASES.get(str(name)):
        return [locate(part) for part in (release.hypothesizer, release.corrector) if part]
    folder = locate(name)
    if not folder.is_dir():
        names = ", ".join([*BUNDLED, *RELEASES])
        raise UserError(f"inverter {name}: neither a folder nor one of {names}")
    if (folder / "dictionary").is_dir():
        raise UserError(f"inverter {name}: holds no T5 generator")
    parts = [folder / part for part in ("hypothesizer", "corrector")]
    return [part for part in parts if part.is_dir()] or [network_folder(folder)]
