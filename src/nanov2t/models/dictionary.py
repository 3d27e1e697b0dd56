"""The average state of every word of an embedder, and what it says of a draft.

A mean-pooled vector is a sum of token states. Let D be the average last state of every word, o the
offset that a sentence adds to all its states, v the target vector, and h the T states of a draft:

    R = T (s v - mean(h)),   s = |mean(h)|,   wanted state at place i:  h_i + R - o

The likeliest word at a place is the one whose D is nearest to the wanted state, in the metric of
the scatter. One matrix product compares all words at all places.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nanov2t.core.errors import UserError
from nanov2t.embedders.base import EmbedderInfo
from nanov2t.models import checkpoint as disk

FILE = "dictionary.safetensors"
ENOUGH = 5  # occurrences that a word needs for its average to count
SHRINKAGE = 0.02  # share of the mean variance added to every direction's before it is inverted
CANDIDATES = 12_000  # most frequent words, among which the nearest to a wanted state are found
NEAREST = 8  # how many are found for a place by default
FEATURES = 8


@dataclass
class Dictionary:
    """The states of an embedder's vocabulary, made by :func:`study`."""

    embedder: EmbedderInfo
    states: Tensor
    """float32 [vocabulary, hidden], the average last state of every word. A rare word's is
    predicted from its embedding."""
    whitening: Tensor
    """float32 [hidden, hidden]. It gives states, less their word's average and their sentence's
    offset, unit variance in every direction."""
    words: Tensor  # long [known], the words that were seen, most frequent first
    log_frequency: Tensor  # float32 [vocabulary], in nats

    def save(self, path: str | Path) -> None:
        """Write config.json and dictionary.safetensors, the states in int8."""
        states, scale = disk.rounded(self.states)
        tensors = {"states": states, "scale": scale, "words": self.words.int()}
        tensors |= {name: getattr(self, name).half() for name in ("whitening", "log_frequency")}
        disk.write_checkpoint(path, self.embedder, tensors, file=FILE)

    @classmethod
    def load(cls, path: str | Path) -> Dictionary:
        """Read what :meth:`save` wrote. Raises a UserError if it is missing or damaged."""
        path, noun = Path(path), "dictionary"
        info = disk.to_config(EmbedderInfo, disk.read_values(path, noun), path, noun)
        read = disk.read_weights(path, noun, FILE)
        try:
            states, words = read["states"] * read["scale"][:, None], read["words"].long()
            return cls(info, states, read["whitening"], words, read["log_frequency"])
        except KeyError as error:
            raise UserError(f"{path}: damaged {noun}: {error} is missing") from None


@torch.inference_mode()
def study(
    info: EmbedderInfo, embeddings: Tensor, batches: Iterable[tuple[Tensor, Tensor]]
) -> Dictionary:
    """Average an embedder's states. Batches are ids, long [n, t], with special tokens and without
    padding, and their last states [n, t, hidden]. Every eighth serves only to measure the scatter.
    Rare words' states are predicted from the input `embeddings`, float [vocabulary, hidden]."""
    vocabulary, hidden = embeddings.shape
    sums, counts = torch.zeros(vocabulary, hidden), torch.zeros(vocabulary)
    kept = []
    for i, (ids, states) in enumerate(batches):
        if i % 8 == 7:
            kept.append((ids, states))
            continue
        sums.index_add_(0, ids.flatten(), states.float().flatten(0, 1))
        counts.index_add_(0, ids.flatten(), torch.ones(ids.numel()))
    if not kept:
        raise UserError("too few texts to study: at least 8 batches are needed")
    known = counts >= ENOUGH
    averages = sums / counts.clamp(min=1)[:, None]
    features = torch.cat([embeddings.float().cpu(), torch.ones(vocabulary, 1)], 1)
    fit = torch.linalg.lstsq(features[known], averages[known], driver="gelsd").solution
    averages = torch.where(known[:, None], averages, features @ fit)
    words = counts.argsort(descending=True)[: int((counts > 0).sum())]
    log_frequency = ((counts + 0.3) / (counts + 0.3).sum()).log()
    left = []
    for ids, states in kept:
        rest = states.float() - averages[ids]
        left.append((rest - rest.mean(1, keepdim=True))[:, 1:-1].flatten(0, 1))
    rest = torch.cat(left)
    values, directions = torch.linalg.eigh(rest.T @ rest / len(rest))
    whitening = directions / (values.clamp(min=0) + SHRINKAGE * values.mean()).sqrt()
    return Dictionary(info, averages, whitening, words, log_frequency)


class Findings(NamedTuple):
    """What n drafts of t tokens lack, float32. States are whitened and without their sentence's
    offset, like dictionary entries; gains are nats times the precision."""

    wanted: Tensor  # [n, t, d], the entry wanted at each place
    missing: Tensor  # [n, d], the entry wanted of an inserted word
    residual: Tensor  # [n, d]
    precision: Tensor  # [n], 1 / (1 + mean square of the residual): errors elsewhere are noise here
    own: Tensor  # [n, t, d], the entries of the draft's words
    nearest: Tensor  # long [n, t, k], the words nearest to the wanted entries, nearest first
    share: Tensor  # [n, t, k], their likelihoods as shares of one
    gains: Tensor  # [n, t, k], of replacing with them
    inserted: Tensor  # long [n, k], the words nearest to the missing entry
    insertion_gains: Tensor  # [n, k]
    keep_gains: Tensor  # [n, t], of the draft's own words: about zero
    deletion_gains: Tensor  # [n, t]

    def features(self) -> Tensor:
        """The gains, scaled for a network: [n, t, FEATURES]."""
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

    def __init__(self) -> None:
        super().__init__()
        for name in ("states", "entries", "half_squares", "whitening", "words"):
            self.register_buffer(name, torch.zeros(0), persistent=False)

    @torch.no_grad()
    def read(self, dictionary: Dictionary, special: list[int], dtype: torch.dtype) -> None:
        """Take a dictionary. Products over the vocabulary are made in `dtype`, all else in float32.
        `special` ids are never found."""
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
        """Compare n drafts with their targets, unit vectors float32 [n, dim]. The drafts are padded
        ids, long [n, t], with special tokens, their last states [n, t, hidden] and their mask, bool
        [n, t]. Finds the `count` nearest words of each place."""
        h, seen = states.float(), mask.float()[..., None]
        length = seen.sum(1)  # [n, 1]
        mean = (h * seen).sum(1) / length
        goal = mean.norm(dim=1, keepdim=True) * targets.float()  # the mean state that is wanted
        offset = ((h - self.states[ids]) * seen).sum(1) / length
        short = length * (goal - mean)
        residual = short @ self.whitening
        wanted = (h + (short - offset)[:, None]) @ self.whitening
        missing = (short + goal - offset) @ self.whitening
        without = (h + (short - goal)[:, None]) @ self.whitening
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
        share = (near * trust[..., None]).softmax(-1)
        gains = (near - start[..., None]) * trust[..., None]
        insertion_gains = (near_missing - start_missing[:, None]) * trust
        found = (wanted, missing, residual, precision, own, nearest, share, gains)
        return Findings(*found, inserted, insertion_gains, keep * trust, delete * trust)

    def _nearest(self, wanted: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Log likelihoods, up to a constant of the row, and ids of the words nearest to wanted
        entries [..., d]: float32 and long [..., count]."""
        likelihood = F.linear(wanted.to(self._near.dtype), self._near) - self._near_squares
        best, places = likelihood.topk(count, -1)
        return best.float(), self.words[places]
