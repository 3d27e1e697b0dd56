"""Training of an edit network: to correct a draft, given the vector of its text. A third of its
drafts are texts with errors. The network makes the others itself: it draws edits in one step and
learns from the results in the next.

nanov2t train configs/minilm_exact_edits.yaml
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from nanov2t.embedders.text import decode_texts
from nanov2t.fast import packed, search_dtype
from nanov2t.models.dictionary import Dictionary
from nanov2t.models.edit_network import EditNetwork
from nanov2t.models.editor import NetworkEditor, apply, exchanged
from nanov2t.models.prefix_lm import PrefixLM
from nanov2t.train.config import EditRecipe
from nanov2t.train.data import Embed, padded, read
from nanov2t.train.edit_loss import CHILDREN, DRAWS, NOTHING, Drafts, EditLoss, Rows, labels_of
from nanov2t.train.network import ROOM, NetworkTask, Studied, load_kind

HOTTEST, CHOICES = 1.5, 16
"""Highest temperature of a hypothesis, whose words are each one of the CHOICES likeliest."""
LONGER = 3  # words by which a hypothesis may be longer than its text
WORDS, NEIGHBOURS = 12_000, 16
"""Frequent words that a near word may replace, and the number of near words of each."""
FEW, ALL = 0.52, 0.03
"""Shares of drafts with one or two errors, and with no right word. In the others up to half of the
words are wrong."""
REORDERED, ONE_MOVE, TWO_MOVES = 0.5, 0.35, 0.25
"""Share of drafts with their words in another order, and shares of these with one or two pairs of
spans exchanged. The others have up to a third as many pairs as words."""
LONG, SPAN = 6, 4
"""Longest span of such a pair (one of the two may be longer), and longest span that moves."""
KINDS = {"replace": 0.5, "delete": 0.18, "insert": 0.15, "swap": 0.08, "move": 0.09}
"""Frequencies of the errors."""
DEV_ROWS, DEV_SEED = 32, 1  # dev drafts that pass through the network at a time, and their seed
ONE_EDIT, EDITS = ("replace", "delete", "insert"), 8
"""Errors that one edit corrects, and the number of edits tried on drafts with one."""


@torch.inference_mode()
def draw(
    model: PrefixLM, targets: Tensor, texts: Rows, longest: int, rngs: Sequence[np.random.Generator]
) -> Rows:
    """A hypothesis of each vector [n, dim], as ids without special tokens, at a random temperature
    and at most LONGER words longer than its text. No text is longer than `longest`."""
    shape = (longest + LONGER, CHOICES)
    drawn = [rng.gumbel(size=shape) * rng.uniform(0, HOTTEST) for rng in rngs]
    most = max(map(len, texts)) + LONGER
    noise = torch.tensor(np.array(drawn, np.float32)[:, :most], device=targets.device)
    caches, guess = model.trunk.begin(model.embed_prefix(targets)), model.guess(targets)
    rows = model.draw(caches, guess, noise)
    return [row[: len(text) + LONGER] for row, text in zip(rows, texts, strict=True)]


class Corruption:
    """Puts errors into texts, given as token ids without `special` tokens. Half of the wrong words
    have states like those of the right ones; frequency decides the others."""

    def __init__(self, dictionary: Dictionary, special: list[int]):
        words = dictionary.words[~torch.isin(dictionary.words, torch.tensor(special))]
        self.words = words.numpy()
        frequency = dictionary.log_frequency[words].double().exp()
        self.cumulative = (frequency.cumsum(0) / frequency.sum()).numpy()
        known = words[:WORDS]
        entries = dictionary.states[known] @ dictionary.whitening
        half_squares, count = 0.5 * (entries**2).sum(1), min(NEIGHBOURS + 1, len(known))
        nearest = [(x @ entries.T - half_squares).topk(count)[1] for x in entries.split(1024)]
        near = known[torch.cat(nearest)[:, 1:]].numpy()
        self.neighbours = dict(zip(known.tolist(), near, strict=True))

    def draft(self, text: list[int], rng: np.random.Generator) -> list[int]:
        """A text with a random number of errors."""
        draft, kind = list(text), rng.random()
        if kind < ALL:
            return [self._random(rng) for _ in draft]
        most = 2 if kind < ALL + FEW else max(1, len(draft) // 2)
        for _ in range(int(rng.integers(1, most + 1))):
            draft = self.err(draft, str(rng.choice(list(KINDS), p=list(KINDS.values()))), rng)
        return draft

    def reordered(self, text: list[int], rng: np.random.Generator) -> list[int]:
        """A text, or its words in another order."""
        if len(text) < 2 or rng.random() >= REORDERED:
            return text
        kind, most = rng.random(), max(3, len(text) // 3)
        moves = 1 if kind < ONE_MOVE else 2 if kind < ONE_MOVE + TWO_MOVES else 0
        order = tuple(text)
        for _ in range(moves or int(rng.integers(3, most + 1))):
            i, j, k, m = sorted(rng.integers(0, len(text) + 1, 4))
            if min(j - i, m - k) <= LONG:
                order = exchanged(order, i, j, k, m)
        return list(order)

    def err(self, draft: list[int], kind: str, rng: np.random.Generator) -> list[int]:
        """The draft with one more error of a kind, or of another kind if there is no room."""
        room = len(draft) - 1 if kind == "swap" and len(draft) > 1 else len(draft)
        place = int(rng.integers(room)) if draft else 0
        if kind == "insert" or not draft:
            return [*draft[:place], self._random(rng), *draft[place:]]
        before, word, after = draft[:place], draft[place], draft[place + 1 :]
        if kind == "delete" and len(draft) > 1:
            return before + after
        if kind == "swap" and after:
            return [*before, after[0], word, *after[1:]]
        if kind == "move" and len(draft) > 2:
            end = place + int(rng.integers(1, SPAN + 1))
            rest = draft[:place] + draft[end:]
            to = int(rng.integers(len(rest) + 1))
            return rest[:to] + draft[place:end] + rest[to:]
        near = self.neighbours.get(word)
        if near is None or rng.random() < 0.5:
            return [*before, self._random(rng), *after]
        return [*before, int(near[rng.integers(len(near))]), *after]

    def _random(self, rng: np.random.Generator) -> int:
        place = int(np.searchsorted(self.cumulative, rng.random()))
        return int(self.words[min(place, len(self.words) - 1)])


class EditTask(NetworkTask):
    """Drafts and the edits that correct them. Dev figures are of drafts as in training, and of
    drafts with a single error."""

    def __init__(self, config: EditRecipe, studied: Studied, accelerator: Accelerator):
        super().__init__(config, studied, accelerator)
        settings, tokenizer = config.drafts, self.embedder.tokenizer
        self.max_tokens = config.data.max_tokens
        self.corruption = Corruption(self.dictionary, tokenizer.all_special_ids)
        self.share = settings.share if settings.hypothesizer else 0.0
        if self.share:
            model = load_kind("prefix_lm", settings.hypothesizer, studied)
            self.hypothesizer = packed(model.to(self.device, search_dtype(self.device)))
        self.children: Rows = []  # CHILDREN drafts of each of this process's texts of the next step
        self._texts = lru_cache(1)(self._read_texts)
        rng, texts = np.random.default_rng(DEV_SEED), self.dev_texts
        self.dev_guides = {n: [self.corruption.reordered(x, rng) for x in texts[n]] for n in texts}
        self.dev_drafts = {
            n: [self.corruption.draft(x, rng) for x in self.dev_guides[n]] for n in texts
        }
        self.one_error = {n: [self._one_error(x, rng) for x in texts[n]] for n in texts}
        exact = Embed(self.embedder, tokenizer)
        ids = {n: torch.tensor(texts[n], device=self.device) for n in texts}
        self.dev_vectors = {n: exact(ids[n], torch.ones_like(ids[n])) for n in texts}

    def loss(self, network: EditNetwork) -> EditLoss:
        bf16 = self.accelerator.mixed_precision == "bf16"
        network.to(self.device)
        network.read_dictionary(self.dictionary, torch.bfloat16 if bf16 else None)
        return EditLoss(network)

    def step(self, model: nn.Module, step: int, part: int) -> Tensor:
        source, begun = self.source, step - int(self.source.round[step])
        texts, guides, targets, _, every = self._texts(begun)
        drafts = self._edited(targets) if step > begun else self._begun(begun)
        # The same in every process, so it must not depend on draws for the process's own rows.
        rng = np.random.default_rng([self.seed, 4, step])
        labels = labels_of(drafts, texts, guides, self._generators(3, step))
        candidates, noise = self.sampler.draw(every, rng), None
        if source.round[step + 1]:
            shape = (int(source.size[step]), CHILDREN, self.max_tokens + ROOM + 2, DRAWS)
            drawn = rng.random(shape, np.float32)[source.mine]
            noise = torch.from_numpy(drawn).to(self.device)
        nats, self.children = model(targets, drafts, labels, candidates, noise)
        return torch.stack(nats).sum() / int(source.size[step] * source.length[step])

    def state(self) -> dict[str, Tensor]:
        return {"children": padded(self.children, NOTHING)} if self.children else {}

    def load_state(self, state: dict[str, Tensor]) -> None:
        rows = state["children"].tolist() if state else []
        self.children = [[word for word in row if word != NOTHING] for row in rows]

    def dev_nats(self, model: EditLoss) -> Iterator[tuple[str, float, float]]:
        """`loss`, as in training; and nats a place (keep, replace or delete its word; fill or leave
        the gap beside it), a word to put in, and a token whose follower is wanted."""
        candidates = self.sampler.every_word()
        for length, texts in self.dev_texts.items():
            for first in range(0, len(texts), DEV_ROWS):
                part = slice(first, first + DEV_ROWS)
                drafts = self._read(self.dev_drafts[length][part])
                rngs = [np.random.default_rng(DEV_SEED)] * len(texts[part])
                labels = labels_of(drafts, texts[part], self.dev_guides[length][part], rngs)
                nats, _ = model(self.dev_vectors[length][part], drafts, labels, candidates)
                places = int((drafts.mask.sum(1) - 2).sum())
                missing = labels.replaced.shape[1] + labels.inserted.shape[1]
                followed = len(labels.order[:2].unique(dim=1).T)
                yield "loss", float(sum(nats)), places
                counts = {"nats_place": places, "nats_word": missing, "nats_order": followed}
                yield from zip(counts, map(float, nats), counts.values(), strict=True)

    def measure(self, model: EditLoss) -> dict[str, float]:
        """By length, the share of drafts with one error that the likeliest edit mends, or one of
        the EDITS likeliest."""
        figures = {}
        editor = NetworkEditor(model.network, self.dictionary, self.embedder)
        for length, rows in self.dev_texts.items():
            targets = list(self.dev_vectors[length].cpu().numpy())
            drafts = editor.score(targets, editor.decode(self.one_error[length]), EDITS)
            tried = [[apply(draft.ids, [edit]) for edit in draft.edits] for draft in drafts]
            for n in (1, EDITS):
                mended = [row in texts[:n] for row, texts in zip(rows, tried, strict=True)]
                figures[f"mended_by_{n}_{length}"] = float(np.mean(mended))
        return figures

    def _one_error(self, row: list[int], rng: np.random.Generator) -> list[int]:
        draft = row
        while draft == row:  # a word may have taken its own place
            draft = self.corruption.err(row, str(rng.choice(ONE_EDIT)), rng)
        return draft

    def _read_texts(self, begun: int) -> tuple[Rows, Rows, Tensor, list[int], Tensor]:
        """This process's texts of a step; their words in the drafts' order; their vectors with
        noise, float32 [n, dim]; the places of those whose drafts are hypotheses; and the words of
        all processes' texts, long [m]."""
        every, rngs, mine = self.source.at(begun), self._generators(6, begun), self.source.mine
        texts = every[mine]
        written = [i for i, rng in enumerate(rngs) if rng.random() < self.share]
        guides = [self.corruption.reordered(*pair) for pair in zip(texts, rngs, strict=True)]
        guides = [texts[i] if i in written else guide for i, guide in enumerate(guides)]
        _, vectors = self.vectors(texts)
        vectors = self.noise(vectors, len(every), mine, [self.seed, 5, begun])
        words = torch.tensor([word for row in every for word in row], device=self.device)
        return texts, guides, vectors, written, words

    def _begun(self, step: int) -> Drafts:
        texts, guides, targets, written, _ = self._texts(step)
        rngs = self._generators(2, step)
        rows = [self.corruption.draft(*pair) for pair in zip(guides, rngs, strict=True)]
        if written:
            given = [texts[i] for i in written], self.max_tokens, [rngs[i] for i in written]
            drawn = iter(draw(self.hypothesizer, targets[written], *given))
            rows = [next(drawn) if i in written else row for i, row in enumerate(rows)]
        return self._read(rows)

    def _edited(self, targets: Tensor) -> Drafts:
        """The child nearest to its target, for each draft of the step before."""
        children = self._read(self.children)
        cosines = children.vectors * targets.repeat_interleave(CHILDREN, 0)
        best = (cosines.sum(1) / children.vectors.norm(dim=1)).view(-1, CHILDREN).argmax(1)
        rows = torch.arange(len(best), device=best.device) * CHILDREN + best
        ids, states, vectors, mask = (x[rows] for x in children)
        t = int(mask.sum(1).max())
        return Drafts(ids[:, :t], states[:, :t], vectors, mask[:, :t])

    def _read(self, rows: Rows) -> Drafts:
        """Drafts as the network reads them: by way of text, as in a search."""
        tokens = self.embedder.tokenize(decode_texts(rows, self.embedder.tokenizer, self.embedder))
        cut = [[*row[:-1][: self.max_tokens + ROOM + 1], row[-1]] for row in tokens]
        ids = padded(cut, self.pad).to(self.device)
        mask = ids != self.pad
        return Drafts(ids, *read(self.embedder, ids, mask), mask)

    def _generators(self, purpose: int, step: int) -> list[np.random.Generator]:
        places = range(int(self.source.size[step]))[self.source.mine]
        return [np.random.default_rng([self.seed, purpose, step, i]) for i in places]
