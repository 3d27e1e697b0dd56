"""Training of a prefix language model: to write a text, given its vector.

nanov2t train configs/minilm_exact_prefix.yaml
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nanov2t.models.prefix_lm import PrefixLM, cover
from nanov2t.targets import Defence
from nanov2t.train.network import Candidates, NetworkTask

BAG, BAG_EVERY = 0.4, 4
"""Weight of the lexical guess's own loss, and its distance in steps: it needs every word."""
DEV_ROWS = 16  # dev texts at a time; their logits cover the whole vocabulary


class PrefixLoss(nn.Module):
    """Cross entropy of texts under a prefix language model, over the candidates."""

    log_frequency: Tensor

    def __init__(self, network: PrefixLM, log_frequency: Tensor):
        super().__init__()
        self.network = network
        self.register_buffer("log_frequency", log_frequency, persistent=False)

    def forward(self, targets: Tensor, texts: Tensor, candidates: Candidates, bag: bool) -> Tensor:
        """Nats a token of padded texts, long [n, t], without special tokens, given their vectors
        [n, dim]. `bag` adds the loss of the lexical guess alone."""
        trunk = self.network.config.trunk
        words = texts != trunk.pad
        written = F.pad(texts, (1, 0), value=trunk.cls)
        labels = F.pad(texts, (0, 1), value=trunk.pad)
        labels = labels.scatter(1, words.sum(1, keepdim=True), trunk.sep)
        states = self.network.hidden(targets, written)
        logits = self.network.logits(states, candidates.words).float()
        guess = self.network.guess(targets, candidates.words)
        logits = cover(logits, guess, candidates.places(written)) + candidates.correction
        right = candidates.places(labels).masked_fill(labels == trunk.pad, -100)
        nats = F.cross_entropy(logits.flatten(0, 1), right.flatten(), reduction="sum")
        if bag:
            odds = self.network.guess(targets) + self.log_frequency
            nats = nats - BAG * (odds.log_softmax(-1).gather(1, texts) * words).sum()
        return nats / (labels != trunk.pad).sum()


class PrefixTask(NetworkTask):
    """Texts and their vectors. A `change` may change the vectors before the network sees them."""

    change: Defence | None = None

    def loss(self, network: PrefixLM) -> PrefixLoss:
        return PrefixLoss(network, self.dictionary.log_frequency)

    def step(self, model: nn.Module, step: int, part: int) -> Tensor:
        texts, mine, seed = self.source.at(step), self.source.mine, self.seed
        given, every = self._given(texts[mine]), [word for row in texts for word in row]
        given["targets"] = self.noise(given["targets"], len(texts), mine, [seed, 5, step])
        rng = np.random.default_rng([seed, 3, step])
        given["candidates"] = self.sampler.draw(torch.tensor(every, device=self.device), rng)
        tokens = sum(len(row) + 1 for row in texts[mine])
        loss: Tensor = model(**given, bag=step % BAG_EVERY == 0)
        return loss * (tokens / (len(every) + len(texts)))

    def dev_nats(self, model: PrefixLoss) -> Iterator[tuple[str, float, float]]:
        """Nats a token, closing ones included, of the texts of each length and of all."""
        words = self.sampler.every_word()
        for length, rows in self.dev_texts.items():
            for first in range(0, len(rows), DEV_ROWS):
                part = rows[first : first + DEV_ROWS]
                nats = float(model(**self._given(part), candidates=words, bag=False))
                tokens = len(part) * (length + 1)
                yield f"nats_{length}", nats * tokens, tokens
                yield "loss", nats * tokens, tokens

    def _given(self, rows: list[list[int]]) -> dict[str, Any]:
        texts, targets = self.vectors(rows)
        if self.change is not None:
            targets = torch.from_numpy(self.change(targets.cpu().numpy())).to(targets)
        return {"targets": targets, "texts": texts}
