"""Hypothesise, correct, rank, stop: vectors back to the text they came from.

Sequence-level beam search (Morris et al. 2023, section 3.2) over a pool of the best hypotheses of
each vector. The pool is monotone, so an answer never gets worse; no hypothesis is expanded twice
and no text embedded twice; a vector leaves the batch as soon as its own search is over, and the
next one takes its place.
"""

from __future__ import annotations

import copy
import itertools
import operator
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal

import numpy as np
import torch

from nanov2t.core.errors import UserError
from nanov2t.core.vectors import cosine
from nanov2t.embedders.base import Embedder
from nanov2t.embedders.text import decode_texts
from nanov2t.fast.packed import packed
from nanov2t.models.generator import Generator
from nanov2t.search.options import BEAM, ROUNDS
from nanov2t.search.proposers.edits import apply, combinations, propose
from nanov2t.search.state import Hypothesis, Inversion, Round, Search

FIRST, WIDTH, EDITS = 4, 2, 32
"""Wide early, narrow late: first guesses for a place in the pool; in a round, hypotheses rewritten
while that finds the best ones (one otherwise), and edits tried."""
ROWS, BATCH = {"cpu": 64, "cuda": 1024}, {"cpu": 32, "cuda": 512}
"""Hypotheses that pass through a generator at a time, and vectors searched at a time: enough to
keep a device busy."""
TOLERANCE = 1e-5
"""1 - cosine below which a text counts as exact. float32 and float16 rounding moves a cosine by
less than 1e-6."""


class Inverter:
    """An embedder, its generators and the search.

    Attributes:
        embedder: what made the vectors.
        tokenizer: the generators'.
        hypothesizer: writes the first hypotheses; None if searches start from drafts.
        corrector: rewrites hypotheses; None if there is only round 0. The same object as
            `hypothesizer` where one network is both.
        search, default_rounds: the name of the search, and its corrections at most where none are
            asked for.
    """

    search, default_rounds = "default", ROUNDS

    def __init__(
        self,
        embedder: Embedder,
        tokenizer,
        hypothesizer: Generator | None,
        corrector: Generator | None,
    ):
        self.embedder, self.tokenizer = embedder, tokenizer
        self.hypothesizer, self.corrector = hypothesizer, corrector
        generator = hypothesizer or corrector
        if generator is None:
            raise ValueError("an inverter needs a hypothesizer, a corrector or both")
        self.device, self.dtype = generator.device, search_dtype(generator.device)
        self.rows, self.batch = (
            sizes.get(self.device.type, sizes["cpu"]) for sizes in (ROWS, BATCH)
        )
        self._copies: dict[Generator, Generator] = {}
        self.max_tokens = generator.config.max_tokens
        self.eos = generator.t5.config.eos_token_id

    def _writer(self, generator: Generator) -> Generator:
        """The generator as the search uses it: in `dtype`, packed."""
        if generator not in self._copies:
            fits = generator.t5.dtype == self.dtype
            self._copies[generator] = packed(
                generator if fits else copy.deepcopy(generator).to(self.dtype)
            )
        return self._copies[generator]

    def invert(
        self,
        vectors: np.ndarray,
        rounds: int | None = None,
        beam: int = BEAM,
        drafts: Sequence[str] | None = None,
        on_round: Callable[[int, Round], None] | None = None,
    ) -> list[Inversion]:
        """Invert vectors.

        Args:
            vectors: float32 [n, dim].
            rounds: corrections at most, after the first guess; by default the search's.
            beam: size of the pool, and hypotheses that an expansion writes; of first guesses there
                are four times as many, with a beam of one a greedy one.
            drafts: start from these texts, one a vector, in place of the hypothesizer's.
            on_round: called with the index of a vector and its best hypothesis after each of its
                rounds.

        Raises:
            UserError: a vector is of another dimension, zero, or not finite; or the drafts are too
                few or too many.
        """
        self.check(vectors)
        if drafts is not None and len(drafts) != len(vectors):
            raise UserError(f"{len(drafts)} drafts for {len(vectors)} vectors")
        found = dict(self.stream(vectors, rounds, beam, drafts, on_round))
        return [found[i] for i in range(len(vectors))]

    def check(self, vectors: np.ndarray) -> None:
        """Refuse vectors [n, dim] that this inverter cannot take; the error names the first bad
        row.

        Raises:
            UserError: a vector is of another dimension, zero, or not finite.
        """
        if vectors.ndim != 2 or vectors.shape[1] != self.embedder.dim:
            raise UserError(
                f"vectors of shape {tuple(vectors.shape)}, but {self.embedder.name} makes "
                f"[n, {self.embedder.dim}]"
            )
        for name, bad in (
            ("is not finite", ~np.isfinite(vectors).all(1)),
            ("is zero", ~vectors.any(1)),
        ):
            if bad.any():
                raise UserError(f"vector {int(bad.argmax())} {name}")

    @torch.inference_mode()
    def stream(
        self,
        vectors: Iterable[np.ndarray],
        rounds: int | None = None,
        beam: int = BEAM,
        drafts: Iterable[str] | None = None,
        on_round: Callable[[int, Round], None] | None = None,
        batch: int | None = None,
        tolerance: float = TOLERANCE,
    ) -> Iterator[tuple[int, Inversion]]:
        """Invert vectors [dim] as they come; yields each position and inversion as soon as its
        search is over, so out of order. They are searched `batch` at a time, on which what is found
        does not depend. A text is exact from a cosine of 1 - `tolerance` on."""
        rounds, batch = self.default_rounds if rounds is None else rounds, batch or self.batch
        # Without drafts the hypothesizer writes the first hypotheses; a corrector alone starts from
        # nothing.
        given = (
            drafts
            if drafts is not None
            else itertools.repeat("" if self.hypothesizer is None else None)
        )
        waiting = enumerate(zip(vectors, given, strict=False))
        open_: list[Search] = []
        while True:
            began = time.perf_counter()
            starting = [
                Search(i, *item) for i, item in itertools.islice(waiting, batch - len(open_))
            ]
            if not open_ and not starting:
                return
            self._advance(starting, open_, beam)
            open_ = starting + open_
            share = (time.perf_counter() - began) / len(open_)
            for search in open_:
                closed = search.close_round(share)
                if on_round:
                    on_round(search.index, closed)
            still_open = []
            for search in open_:
                stopped = self._stopped(search, rounds, tolerance)
                if stopped is None:
                    still_open.append(search)
                    continue
                best = search.pool[0]
                yield (
                    search.index,
                    Inversion(best.text, best.cosine, stopped, search.calls, search.rounds),
                )
            open_ = still_open

    def _advance(self, starting: list[Search], open_: list[Search], beam: int) -> None:
        """One round: the first guesses of some searches, the next hypotheses of others, ranked into
        their pools."""
        # With one beam the first guess stays greedy.
        written = self._hypothesize(starting, FIRST * beam if beam > 1 else 1) + self._correct(
            open_, beam
        )
        searches = starting + open_
        edited: list[list[str]] = [[]] * len(starting) + self._edit(open_)
        self._combine(
            searches, self._rank(searches, list(map(operator.add, written, edited)), beam), beam
        )
        for search, texts in zip(searches, written, strict=True):
            search.width = WIDTH if search.pool[0].text in texts else 1

    def _stopped(
        self, search: Search, rounds: int, tolerance: float
    ) -> Literal["exact", "converged", "rounds"] | None:
        if search.pool[0].cosine >= 1 - tolerance:
            return "exact"
        if len(search.rounds) > rounds:
            return "rounds"
        if self.corrector is None or all(h.expanded and h.edited for h in search.pool):
            return "converged"
        return None

    def _hypothesize(self, searches: list[Search], beam: int) -> list[list[str]]:
        """The `beam` best first guesses of each search, or the draft that it was given."""
        blank = [search.target for search in searches if search.draft is None]
        texts: Iterator[str] = iter(())
        if blank and self.hypothesizer is not None:
            ids = self._writer(self.hypothesizer).generate(
                self._tensor(blank), num_beams=beam, num_return_sequences=beam
            )
            texts = iter(self._decode(ids.tolist()))
        return [
            list(itertools.islice(texts, beam)) if search.draft is None else [search.draft]
            for search in searches
        ]

    def _correct(self, searches: list[Search], beam: int) -> list[list[str]]:
        """Rewrite the best hypotheses of each pool that were not rewritten before."""
        if self.corrector is None:
            return [[] for _ in searches]
        chosen = [[h for h in search.pool if not h.expanded][: search.width] for search in searches]
        for hypothesis in itertools.chain(*chosen):
            hypothesis.expanded = True
        return self._rewrite(searches, chosen, beam)

    def _rewrite(
        self, searches: list[Search], chosen: list[list[Hypothesis]], beam: int
    ) -> list[list[str]]:
        """The `beam` best corrections of each chosen hypothesis of each search."""
        assert self.corrector is not None
        written: list[list[str]] = [[] for _ in searches]
        work = [(i, h) for i, hypotheses in enumerate(chosen) for h in hypotheses]
        for part in (work[i : i + self.rows] for i in range(0, len(work), self.rows)):
            ids = self._writer(self.corrector).generate(
                self._tensor([searches[i].target for i, _ in part]),
                self._tensor([h.vector for _, h in part]),
                *self._encode([h.text for _, h in part]),
                num_beams=beam,
                num_return_sequences=beam,
            )
            for j, text in enumerate(self._decode(ids.tolist())):
                written[part[j // beam][0]].append(text)
        return written

    def _edit(self, searches: list[Search]) -> list[list[str]]:
        """The likeliest edits of the best hypothesis of each pool that was not edited before."""
        for search in searches:
            search.edits = {}
        if self.corrector is None:
            return [[] for _ in searches]
        fresh = [
            (search, next((h for h in search.pool if not h.edited), None)) for search in searches
        ]
        work = [(search, h) for search, h in fresh if h is not None]
        rows = self.rows // 8  # the logits of all words at all places are made at once
        for part in (work[i : i + rows] for i in range(0, len(work), rows)):
            ids, mask = self._encode([h.text for _, h in part])
            edits = propose(
                self._writer(self.corrector),
                self._tensor([search.target for search, _ in part]),
                self._tensor([h.vector for _, h in part]),
                ids,
                mask,
                EDITS,
            )
            for (search, hypothesis), proposed, row in zip(part, edits, ids.tolist(), strict=True):
                hypothesis.edited = True
                search.base, search.base_cosine = row[: row.index(self.eos)], hypothesis.cosine
                texts = self._decode([apply(search.base, [edit]) for edit in proposed])
                search.edits = dict(zip(texts, proposed, strict=True))
        return [list(search.edits) for search in searches]

    def _combine(self, searches: list[Search], cosines: list[dict[str, float]], beam: int) -> None:
        """Make the edits that helped together."""
        candidates = []
        for search, cosine_of in zip(searches, cosines, strict=True):
            better = sorted(
                (text for text in search.edits if cosine_of.get(text, -1) > search.base_cosine),
                key=lambda text: -cosine_of[text],
            )
            sets = combinations([search.edits[text] for text in better])
            candidates.append(
                self._decode([apply(search.base, edits) for edits in sets]) if sets else []
            )
        self._rank(searches, candidates, beam)

    def _rank(
        self, searches: list[Search], candidates: list[list[str]], beam: int
    ) -> list[dict[str, float]]:
        """Embed what is new and merge it into the pools; the cosines of the new texts."""
        fresh = [
            list(dict.fromkeys(t for t in texts if t not in search.seen))
            for search, texts in zip(searches, candidates, strict=True)
        ]
        unique = list(dict.fromkeys(text for texts in fresh for text in texts))
        vectors = dict(zip(unique, self.embedder.encode(unique), strict=True))
        cosines = []
        for search, texts in zip(searches, fresh, strict=True):
            search.seen.update(texts)
            search.calls += len(texts)
            found: dict[str, float] = {}
            if texts:
                similar = cosine(np.stack([vectors[t] for t in texts]), search.target[None])
                found = dict(zip(texts, similar.tolist(), strict=True))
            search.merge([Hypothesis(t, c, vectors[t]) for t, c in found.items()], beam)
            cosines.append(found)
        return cosines

    def _decode(self, ids: list[list[int]]) -> list[str]:
        return decode_texts(ids, self.tokenizer, self.embedder)

    def _encode(self, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Drafts to ids and mask, long [n, max_tokens + 1], each with its closing token: of one
        length always, for sums over the longest of a batch are rounded as that one's length would
        have it."""
        rows = [
            self.tokenizer(
                t, add_special_tokens=False, truncation=True, max_length=self.max_tokens
            )["input_ids"]
            + [self.eos]
            for t in texts
        ]
        length = self.max_tokens + 1
        ids = torch.tensor([row + [0] * (length - len(row)) for row in rows])
        mask = (torch.arange(length) < torch.tensor([len(row) for row in rows])[:, None]).long()
        return ids.to(self.device), mask.to(self.device)

    def _tensor(self, rows: list[np.ndarray]) -> torch.Tensor:
        return torch.from_numpy(np.stack(rows).astype(np.float32)).to(self.device, self.dtype)


def search_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where it is multiplied faster than float32. What the generators write in it is
    judged by the embedder in full precision."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    # Processors with avx512_fp16 leave bfloat16 to AMX, which a virtual machine may hide: without
    # it, half the speed.
    cpu = torch.cpu.get_capabilities()
    fast = cpu.get("amx_bf16") or (cpu.get("avx512_bf16") and not cpu.get("avx512_fp16"))
    return torch.bfloat16 if fast else torch.float32
