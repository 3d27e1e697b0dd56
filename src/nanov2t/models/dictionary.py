"""The average state of every word of an embedder, and the scatter of the states.

A mean-pooled vector is a sum of token states. D is the average last state of every word, o the
offset that a sentence adds to all its states, v the target vector, and h the T states of a draft:

    R = T (s v - mean(h)),   s = |mean(h)|,   wanted state at place i:  h_i + R - o

The word w whose D[w] is nearest to the wanted state, in the metric of the scatter, is the likeliest
at that place. All words at all places cost one matrix product.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import dacite
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from nanov2t.core.errors import UserError, first_line
from nanov2t.core.files import replacing
from nanov2t.embedders.base import EmbedderInfo

ENOUGH = 5
"""Occurrences that a word needs for its average to count."""
SHRINKAGE = 0.02
"""Share of the mean variance added to every direction's before it is inverted."""


@dataclass
class Dictionary:
    """The states of an embedder's vocabulary, made by :func:`study`.

    Attributes:
        states: float32 [vocabulary, hidden], the average last state of every word; for a rare word
            what its embedding predicts.
        whitening: float32 [hidden, hidden], gives states, less their word's average and their
            sentence's offset, unit variance in every direction.
        words: long [known], the words that were seen, most frequent first.
        log_frequency: float32 [vocabulary], in nats.
    """

    embedder: EmbedderInfo
    states: Tensor
    whitening: Tensor
    words: Tensor
    log_frequency: Tensor

    def save(self, path: str | Path) -> None:
        """Write config.json and dictionary.safetensors, the states in int8 with a scale a row."""
        scale = self.states.abs().amax(1).clamp(min=1e-12) / 127
        tensors = {
            "states": torch.round(self.states / scale[:, None]).to(torch.int8),
            "scale": scale,
            "whitening": self.whitening.half().contiguous(),
            "words": self.words.int(),
            "log_frequency": self.log_frequency.half(),
        }
        with replacing(path) as folder:
            config = json.dumps(dataclasses.asdict(self.embedder), indent=2)
            (folder / "config.json").write_text(config + "\n", encoding="utf-8")
            save_file(tensors, folder / "dictionary.safetensors")
            (folder / "dictionary.safetensors").chmod(0o644)

    @classmethod
    def load(cls, path: str | Path) -> Dictionary:
        """Read what :meth:`save` wrote.

        Raises:
            UserError: it is missing or damaged.
        """
        path = Path(path)
        for name in ("config.json", "dictionary.safetensors"):
            if not (path / name).is_file():
                raise UserError(f"{path}: not a dictionary: {name} is missing")
        try:
            values = json.loads((path / "config.json").read_text(encoding="utf-8"))
            info = dacite.from_dict(EmbedderInfo, values, dacite.Config(strict=True))
            read = load_file(path / "dictionary.safetensors")
            return cls(
                info,
                read["states"].float() * read["scale"][:, None],
                read["whitening"].float(),
                read["words"].long(),
                read["log_frequency"].float(),
            )
        except (SafetensorError, dacite.DaciteError, ValueError, KeyError, OSError) as error:
            raise UserError(f"{path}: damaged dictionary: {first_line(error)}") from None


@torch.inference_mode()
def study(
    info: EmbedderInfo,
    embeddings: Tensor,
    batches: Iterable[tuple[Tensor, Tensor]],
) -> Dictionary:
    """Average an embedder's states.

    Args:
        embeddings: float [vocabulary, hidden], its input words, from which rare words' states are
            predicted.
        batches: ids long [n, t], with special tokens and no padding, and their last states
            [n, t, hidden]. Every eighth batch is kept out of the averages, to measure the scatter.
    """
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
    return Dictionary(info, averages, _whitening(averages, kept), words, log_frequency)


def _whitening(averages: Tensor, kept: list[tuple[Tensor, Tensor]]) -> Tensor:
    left = []
    for ids, states in kept:
        rest = states.float() - averages[ids]
        left.append((rest - rest.mean(1, keepdim=True))[:, 1:-1].flatten(0, 1))
    rest = torch.cat(left)
    values, directions = torch.linalg.eigh(rest.T @ rest / len(rest))
    whitening: Tensor = directions / (values.clamp(min=0) + SHRINKAGE * values.mean()).sqrt()
    return whitening
