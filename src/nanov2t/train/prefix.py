"""Training of a prefix language model: to write a text, given its vector.

nanov2t train configs/minilm_exact_prefix.yaml
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn import functional as F

from nanov2t.embedders.base import Embedder
from nanov2t.models.dictionary import Dictionary
from nanov2t.models.networks import save_network
from nanov2t.models.prefix_lm import PrefixLM, cover
from nanov2t.targets import Defence
from nanov2t.train.config import PrefixRecipe
from nanov2t.train.data import Embed, Noise, padded
from nanov2t.train.loop import Task, run, start
from nanov2t.train.network import build_network, load_studied, pace
from nanov2t.train.sampled import Candidates, CandidateSampler, every_word
from nanov2t.train.texts import TextSource, dev_texts

BAG = 0.4
"""Weight of the lexical guess's own loss."""
BAG_EVERY = 4
"""Steps between two with it, since it takes the whole vocabulary."""
DEV_ROWS = 16
"""Dev texts at a time; their logits cover the whole vocabulary."""


def train_prefix(config: PrefixRecipe) -> Path:
    """Train, or resume, the run in ``config.out``; returns the folder of the best network.

    Raises:
        UserError: the run folder holds another run, or an input is missing or does not fit.
    """
    accelerator = start(config)
    embedder, dictionary = load_studied(config, accelerator.device)
    network = build_network(PrefixLM, config, embedder, dictionary)
    return teach(network, config, embedder, dictionary, accelerator)


def teach(
    network: PrefixLM,
    config: PrefixRecipe,
    embedder: Embedder,
    dictionary: Dictionary,
    accelerator: Accelerator,
    change: Defence | None = None,
) -> Path:
    """As :func:`train_prefix`, with a network and an embedder at hand.

    Args:
        accelerator: of :func:`~nanov2t.train.loop.start`.
        change: applied to the texts' vectors before the network sees them.
    """
    loss = PrefixLoss(network, dictionary.log_frequency)
    task = PrefixTask(config, embedder, dictionary, accelerator, change)
    return run(task, loss, config, accelerator, pace(config))


class PrefixLoss(nn.Module):
    """Cross entropy of texts under a prefix language model, over some of the words."""

    log_frequency: Tensor

    def __init__(self, network: PrefixLM, log_frequency: Tensor):
        super().__init__()
        self.network = network
        self.register_buffer("log_frequency", log_frequency, persistent=False)

    def forward(self, targets: Tensor, texts: Tensor, candidates: Candidates, bag: bool) -> Tensor:
        """Nats a token of texts, long [n, t], without special tokens and padded, given their
        vectors [n, dim].

        Args:
            bag: add the loss of the lexical guess alone, against the words of the texts.
        """
        trunk = self.network.config.trunk
        words = texts != trunk.pad
        written = F.pad(texts, (1, 0), value=trunk.cls)
        labels = F.pad(texts, (0, 1), value=trunk.pad).scatter(
            1, words.sum(1, keepdim=True), trunk.sep
        )
        count = (labels != trunk.pad).sum()
        states = self.network.hidden(targets, written)
        logits = self.network.logits(states, candidates.words).float()
        guess = self.network.guess(targets, candidates.words)
        logits = cover(logits, guess, candidates.places(written)) + candidates.correction
        right = candidates.places(labels).masked_fill(labels == trunk.pad, -100)
        nats = F.cross_entropy(logits.flatten(0, 1), right.flatten(), reduction="sum")
        if bag:
            odds = self.network.guess(targets) + self.log_frequency
            nats = nats - BAG * (odds.log_softmax(-1).gather(1, texts) * words).sum()
        return nats / count


class PrefixTask(Task[PrefixLoss]):
    """Texts and their vectors.

    Args:
        change: see :func:`teach`.
    """

    def __init__(
        self,
        config: PrefixRecipe,
        embedder: Embedder,
        dictionary: Dictionary,
        accelerator: Accelerator,
        change: Defence | None = None,
    ):
        self.change = change
        self.config, self.dictionary, self.device = config, dictionary, accelerator.device
        self.source = TextSource(config, embedder.tokenizer, accelerator)
        self.embed = Embed(embedder, embedder.tokenizer, rough=True)
        self.noise = Noise(config.data.noise, embedder.normalized)
        self.pad = embedder.tokenizer.pad_token_id
        special = embedder.tokenizer.all_special_ids
        self.sampler = CandidateSampler(dictionary, special, accelerator.device)
        self.dev_texts = dev_texts(config.data, embedder.tokenizer, config.eval_limit)
        self.steps, self.parts = config.optim.steps, 1

    def seen(self, step: int) -> int:
        return self.source.schedule.examples(step)

    def step(self, model: nn.Module, step: int, part: int) -> Tensor:
        arguments, share = self.arguments(step)
        loss: Tensor = model(**arguments)
        return loss * share

    def arguments(self, step: int) -> tuple[dict[str, Any], float]:
        """What this process gives the model in a step, and its share of the tokens."""
        texts = self.source.at(step)
        every = torch.tensor([word for row in texts for word in row], device=self.device)
        rng = np.random.default_rng([self.config.seed, 3, step])
        mine = texts[self.source.mine]
        arguments: dict[str, Any] = self._given(mine)
        arguments["targets"] = self.noise(
            arguments["targets"], len(texts), self.source.mine, [self.config.seed, 5, step]
        )
        arguments["candidates"] = self.sampler.draw(every, rng)
        arguments["bag"] = step % BAG_EVERY == 0
        tokens = sum(len(row) + 1 for row in mine)
        return arguments, tokens / (len(every) + len(texts))

    def dev_nats(self, model: PrefixLoss) -> Iterator[tuple[str, float, float]]:
        """Nats a token, the closing one among them, of the texts of each length and of all."""
        words = every_word(self.dictionary, self.device)
        for length, rows in self.dev_texts.items():
            for first in range(0, len(rows), DEV_ROWS):
                part = rows[first : first + DEV_ROWS]
                nats = float(model(**self._given(part), candidates=words, bag=False))
                tokens = len(part) * (length + 1)
                for name in (f"nats_{length}", "loss"):
                    yield name, nats * tokens, tokens

    def save(self, model: PrefixLoss, folder: Path) -> None:
        save_network(model.network, folder)

    def _given(self, rows: list[list[int]]) -> dict[str, Any]:
        texts = padded(rows, self.pad).to(self.device)
        targets = self.embed(texts, (texts != self.pad).long())
        if self.change is not None:
            targets = torch.from_numpy(self.change(targets.cpu().numpy())).to(targets)
        return {"targets": targets, "texts": texts}
