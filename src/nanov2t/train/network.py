"""What the trainings of the engine's networks share: an embedder's dictionary, the network to start
from, and a sampled softmax (cf. Jean et al. 2015, "On Using Very Large Target Vocabulary"), since
logits over the whole vocabulary would take a third of each step."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from nanov2t.core.errors import UserError
from nanov2t.embedders.base import Embedder
from nanov2t.embedders.registry import load_embedder
from nanov2t.embedders.text import decode_texts
from nanov2t.models.dictionary import Dictionary, study
from nanov2t.models.hub import locate, network_folder
from nanov2t.models.networks import KINDS, load_network, save_network
from nanov2t.models.trunk import NetworkShape, trunk_config
from nanov2t.train.config import NetworkConfig
from nanov2t.train.data import Corpus, Crops, Embed, Noise, padded
from nanov2t.train.loop import Task, run
from nanov2t.train.texts import TextSource, dev_texts

ROOM = 8  # words by which a draft may exceed the longest text
ALWAYS, RARER, DRAWN = 2000, 24_000, 2048
"""The ALWAYS most frequent words are always candidates; DRAWN more come from the others up to rank
RARER."""
STEP, CHECKED = 128, 8
"""Crops embedded at a time, and the number of further batches that check the dictionary."""
Studied = tuple[Embedder, Dictionary]


class Findings(NamedTuple):
    """A dictionary, and the share of the states' variance on other crops that its averages do not
    explain, without and with each text's offset."""

    dictionary: Dictionary
    left: float
    left_with_offset: float


def study_embedder(embedder: Embedder, texts: str, crops: int, cache: Path | None) -> Findings:
    """Learn the dictionary of an embedder from `crops` crops of 4 to 32 tokens. Raises a UserError
    if the embedder does not show its states, or there is too little text."""
    _check_states(embedder)
    corpus = Corpus.load(texts, embedder.tokenizer, cache)
    drawn = Crops(corpus, embedder.tokenizer, 0, max_tokens=32, short_share=0.5)
    steps = max(1, crops // STEP)
    words: Any = embedder.model[0].model.get_input_embeddings().weight
    dictionary = study(embedder.info, words.detach(), _states(embedder, drawn, range(steps)))
    total = left = with_offset = torch.zeros(())
    for ids, states in _states(embedder, drawn, range(steps, steps + CHECKED)):
        rest, t = states - dictionary.states[ids], ids.shape[1]
        total = total + (states - states.mean((0, 1))).square().sum()
        left = left + rest.square().sum()
        apart = (rest - rest.mean(1, keepdim=True)).square().sum()
        with_offset = with_offset + apart * t / (t - 1)
    return Findings(dictionary, float(left / total), float(with_offset / total))


def _states(embedder: Embedder, crops: Crops, steps: range) -> Iterator[tuple[Tensor, Tensor]]:
    """Ids, long [m, t], and states, float32 [m, t, d], of the crops of some steps, by length."""
    for step in steps:
        ids, mask, _ = crops.ids(step, STEP)
        rows = [row[keep].tolist() for row, keep in zip(ids, mask.bool(), strict=True)]
        texts = [text for text in decode_texts(rows, embedder.tokenizer, embedder) if text]
        for _, known, states in embedder.states_by_length(texts):
            yield known.cpu(), states.float().cpu()


def _check_states(embedder: Embedder) -> None:
    if not embedder.has_states:
        raise UserError(f"{embedder.name}: does not show hidden states whose mean is its vector")


def load_studied(config: NetworkConfig, device: torch.device) -> Studied:
    """The embedder of a recipe and its dictionary. Raises a UserError if one is missing, they do
    not fit together, or the texts are too long for them."""
    embedder = load_embedder(config.embedder, device)
    _check_states(embedder)
    dictionary = Dictionary.load(network_folder(locate(config.dictionary), "dictionary"))
    if dictionary.embedder.fingerprint != embedder.info.fingerprint:
        names = f"is of {dictionary.embedder.name}, not of {embedder.name}"
        raise UserError(f"dictionary {config.dictionary} {names}: make one by `nanov2t study`")
    room = min(trunk_config(embedder).positions, embedder.max_tokens) - ROOM - 2
    if config.data.max_tokens > room:
        raise UserError(f"data.max_tokens: at most {room} for {embedder.name}")
    return embedder, dictionary


def build_network(kind: str, config: NetworkConfig, studied: Studied) -> Any:
    """The network that a run starts from: ``config.init``, or one with the embedder's layers."""
    if config.init:
        return load_kind(kind, config.init, studied)
    embedder, dictionary = studied
    shape = embedder.dim, embedder.info, config.data.max_tokens, kind
    network = KINDS[kind](NetworkShape(trunk_config(embedder), *shape))
    network.bias.data.copy_(0.5 * dictionary.log_frequency)
    network.trunk.start_from(embedder)
    network.read_dictionary(dictionary)
    return network


def load_kind(kind: str, name: str, studied: Studied) -> Any:
    """The network that a recipe names. Raises a UserError if it has another kind or embedder."""
    part = "hypothesizer" if kind == "prefix_lm" else "corrector"
    path = network_folder(locate(name), part)
    network, info = load_network(path, *studied, kind), studied[0].info
    trained_for = network.config.embedder
    if trained_for.fingerprint != info.fingerprint:
        raise UserError(f"{path}: was trained for {trained_for.name}, not for {info.name}")
    return network


class Candidates(NamedTuple):
    """Words to choose among, long [c], ascending. A loss adds `correction` to their logits, and a
    draw adds `stand_in`, float32 [c] each."""

    words: Tensor
    correction: Tensor
    stand_in: Tensor

    def places(self, words: Tensor) -> Tensor:
        """The indices of words [...] among the candidates."""
        return torch.searchsorted(self.words, words.contiguous())


class CandidateSampler:
    """Draws candidates: the most frequent words, `special` tokens, those of the texts, and rarer
    words at random. Logits are corrected by the log of their words' chances."""

    def __init__(self, dictionary: Dictionary, special: list[int], device: torch.device):
        words, rarer = dictionary.words, dictionary.words[ALWAYS:RARER]
        self.frequency = dictionary.log_frequency.exp().to(device)
        self.always = torch.cat([words[:ALWAYS], torch.tensor(special)]).to(device)
        self.rarer, self.drawn = rarer.to(device), min(DRAWN, len(rarer))
        self.missed = torch.ones(len(self.frequency), device=device)  # chances not to be drawn
        self.missed[self.rarer] = 1 - self.drawn / max(1, len(rarer))
        self.missed[self.always] = 0

    def draw(self, texts: Tensor, rng: np.random.Generator) -> Candidates:
        """Candidates for the words of texts, long [m]."""
        places = torch.from_numpy(rng.permutation(len(self.rarer))[: self.drawn])
        drawn = self.rarer[places.to(self.rarer.device)]
        words = torch.unique(torch.cat([self.always, drawn, texts]))
        missed = self.missed[words]
        correction = -torch.log1p(-missed * (1 - self.frequency[words]) ** len(texts))
        stand_in = -torch.log1p(-missed.masked_fill(torch.isin(words, texts), 0))
        return Candidates(words, correction, stand_in)

    def every_word(self) -> Candidates:
        zero = torch.zeros_like(self.missed)
        return Candidates(torch.arange(len(zero), device=zero.device), zero, zero)


class NetworkTask(Task[Any]):
    """Texts, their vectors and the words to choose among."""

    def __init__(self, config: NetworkConfig, studied: Studied, accelerator: Accelerator):
        (self.embedder, self.dictionary), self.config = studied, config
        tokenizer, self.accelerator = self.embedder.tokenizer, accelerator
        self.seed, self.steps, self.device = config.seed, config.optim.steps, accelerator.device
        self.source = TextSource(config, tokenizer, accelerator)
        self.dev_texts = dev_texts(config.data, tokenizer, config.eval_limit)
        self.embed, self.pad = Embed(self.embedder, tokenizer, rough=True), tokenizer.pad_token_id
        self.noise = Noise(config.data.noise, self.embedder.normalized)
        self.sampler = CandidateSampler(self.dictionary, tokenizer.all_special_ids, self.device)

    def train(self, network: Any) -> Path:
        """Train a network, or resume the run. Returns the folder of the best network."""
        head_lr, given = self.config.optim.head_lr, (self.config, self.accelerator)
        # Weights that start as the embedder's learn more slowly.
        return run(self, self.loss(network), *given, lambda x: 1 if ".trunk." in x else head_lr)

    def loss(self, network: Any) -> nn.Module:
        """A module whose output is the loss of its part `network`."""
        raise NotImplementedError

    def seen(self, step: int) -> int:
        return int(self.source.seen[step])

    def vectors(self, rows: list[list[int]]) -> tuple[Tensor, Tensor]:
        """Padded texts, long [n, t], and their vectors, float32 [n, dim]."""
        texts = padded(rows, self.pad).to(self.device)
        return texts, self.embed(texts, (texts != self.pad).long())

    def save(self, model: Any, folder: Path) -> None:
        save_network(model.network, folder)
