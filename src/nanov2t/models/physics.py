"""What a draft lacks of its target, by a dictionary: see :mod:`nanov2t.models.dictionary`."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nanov2t.models.dictionary import Dictionary

CANDIDATES = 12_000
"""Most frequent words, among which the nearest to a wanted state are found."""
NEAREST = 8
"""How many are found for a place by default."""
FEATURES = 8


class Findings(NamedTuple):
    """What n drafts of t tokens lack of their targets, float32. States are whitened and without
    their sentence's offset, like dictionary entries; gains are log likelihoods in nats, times the
    precision."""

    wanted: Tensor
    """[n, t, d], the entry wanted at each place."""
    missing: Tensor
    """[n, d], the entry wanted of an inserted word."""
    residual: Tensor
    """[n, d]."""
    precision: Tensor
    """[n], 1 / (1 + mean square of the residual): errors elsewhere are noise here."""
    own: Tensor
    """[n, t, d], the entries of the draft's words."""
    nearest: Tensor
    """long [n, t, k], the words nearest to the wanted entries, nearest first."""
    share: Tensor
    """[n, t, k], their likelihoods as shares of one."""
    gains: Tensor
    """[n, t, k], of replacing with them."""
    inserted: Tensor
    """long [n, k], the words nearest to the missing entry."""
    insertion_gains: Tensor
    """[n, k]."""
    keep_gains: Tensor
    """[n, t], of the draft's own words: about zero."""
    deletion_gains: Tensor
    """[n, t]."""

    def features(self) -> Tensor:
        """[n, t, FEATURES], the gains scaled for a network."""
        n, t = self.keep_gains.shape
        best = self.gains[..., 0]
        columns = [
            self.keep_gains,
            self.deletion_gains,
            best,
            self.gains[..., 1],
            self.gains[..., NEAREST - 1],
            self.insertion_gains[:, :1].expand(n, t),
            best - best.amax(1, keepdim=True),
        ]
        scaled = [column.sign() * (column.abs() / 8).log1p() for column in columns]
        return torch.stack([*scaled, -self.precision.log()[:, None].expand(n, t)], -1)


class Physics(nn.Module):
    """A dictionary as a module without weights."""

    states: Tensor
    entries: Tensor
    half_squares: Tensor
    words: Tensor

    def __init__(self, vocabulary: int, width: int):
        super().__init__()
        for name, shape in (
            ("states", (vocabulary, width)),
            ("entries", (vocabulary, width)),
            ("half_squares", (vocabulary,)),
            ("whitening", (width, width)),
        ):
            self.register_buffer(name, torch.zeros(shape), persistent=False)
        self.register_buffer("words", torch.zeros(0, dtype=torch.long), persistent=False)

    @torch.no_grad()
    def read(self, dictionary: Dictionary, special: list[int], dtype: torch.dtype) -> None:
        """Take a dictionary. Products over the vocabulary are made in `dtype`, all else in float32;
        the `special` ids are never found."""
        device = self.states.device
        entries = dictionary.states @ dictionary.whitening
        words = dictionary.words[~torch.isin(dictionary.words, torch.tensor(special))]
        self.words = words[:CANDIDATES].to(device)
        self.states = dictionary.states.to(device)
        self.whitening = dictionary.whitening.to(device)
        self.entries = entries.to(device, dtype)
        self.half_squares = (0.5 * (entries**2).sum(1)).to(device)
        self._near = self.entries[self.words]
        self._near_squares = self.half_squares[self.words].to(dtype)

    @torch.no_grad()
    def forward(
        self, targets: Tensor, ids: Tensor, states: Tensor, mask: Tensor, count: int = NEAREST
    ) -> Findings:
        """Compare n drafts with their targets.

        Args:
            targets: float32 [n, dim], unit vectors of the texts.
            ids: long [n, t], the drafts with their special tokens, padded.
            states: [n, t, hidden], the embedder's last states of the drafts.
            mask: bool [n, t].
            count: nearest words of a place.
        """
        h, seen = states.float(), mask.float()[..., None]
        length = seen.sum(1)  # [n, 1]
        mean = (h * seen).sum(1) / length
        goal = mean.norm(dim=1, keepdim=True) * targets.float()  # the mean state that is wanted
        offset = ((h - self.states[ids]) * seen).sum(1) / length
        short = length * (goal - mean)
        residual = self._whiten(short)
        wanted = self._whiten(h + (short - offset)[:, None])
        missing = self._whiten(short + goal - offset)
        without = self._whiten(h + (short - goal)[:, None])
        own = self.entries[ids].float()
        before = 0.5 * (residual**2).sum(1)
        precision = 1 / (1 + 2 * before / residual.shape[1])
        near, nearest = self._nearest(wanted, count)
        near_missing, inserted = self._nearest(missing, count)
        trust = precision[:, None]
        start = 0.5 * (wanted**2).sum(-1) - before[:, None]  # [n, t]
        start_missing = 0.5 * (missing**2).sum(1) - before
        keep = (wanted * own).sum(-1) - 0.5 * (own**2).sum(-1) - start
        delete = before[:, None] - 0.5 * (without**2).sum(-1)
        return Findings(
            wanted,
            missing,
            residual,
            precision,
            own,
            nearest,
            (near * trust[..., None]).softmax(-1),
            (near - start[..., None]) * trust[..., None],
            inserted,
            (near_missing - start_missing[:, None]) * trust,
            keep * trust,
            delete * trust,
        )

    def _whiten(self, states: Tensor) -> Tensor:
        return states @ self.whitening

    def _nearest(self, wanted: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Log likelihoods, float32, up to a constant of the row, and ids of the words nearest to
        wanted entries [..., d]: [..., count]."""
        likelihood = F.linear(wanted.to(self._near.dtype), self._near) - self._near_squares
        best, places = likelihood.topk(count, -1)
        return best.float(), self.words[places]
