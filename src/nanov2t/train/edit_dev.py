"""Dev figures of an edit network."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from nanov2t.embedders.base import Embedder
from nanov2t.models.dictionary import Dictionary
from nanov2t.models.editor import NetworkEditor
from nanov2t.models.edits import apply
from nanov2t.train.config import EditRecipe
from nanov2t.train.corruption import Corruption
from nanov2t.train.data import Embed, padded
from nanov2t.train.drafts import DraftReader
from nanov2t.train.edit_loss import EditLoss
from nanov2t.train.labels import collate, row_labels
from nanov2t.train.sampled import every_word
from nanov2t.train.texts import dev_texts

ROWS = 32
"""Drafts that pass through the network at a time."""
EDITS = 8
"""Likeliest edits that are tried."""
ONE_EDIT = ("replace", "delete", "insert")
"""Errors that one edit corrects."""
SEED = 1
"""Of the drafts, the same in every run."""


class EditDev:
    """Dev texts, drafts of each as in training, and drafts with a single error."""

    def __init__(
        self,
        config: EditRecipe,
        embedder: Embedder,
        dictionary: Dictionary,
        corruption: Corruption,
        read: DraftReader,
    ):
        self.embedder, self.dictionary, self.read = embedder, dictionary, read
        self.texts = dev_texts(config.data, embedder.tokenizer, config.eval_limit)
        rng = np.random.default_rng(SEED)
        self.guides = {
            length: [corruption.reordered(row, rng) for row in rows]
            for length, rows in self.texts.items()
        }
        self.drafts = {
            length: [corruption.draft(row, rng) for row in rows]
            for length, rows in self.guides.items()
        }
        self.one_error = {
            length: [self._one_error(row, corruption, rng) for row in rows]
            for length, rows in self.texts.items()
        }
        embed, pad = Embed(embedder, embedder.tokenizer), embedder.tokenizer.pad_token_id
        self.vectors = {}
        for length, rows in self.texts.items():
            ids = padded(rows, pad).to(embedder.model.device)
            self.vectors[length] = embed(ids, torch.ones_like(ids))

    def mended(self, model: EditLoss) -> dict[str, float]:
        """By length, the share of the drafts with one error that the likeliest edit mends, or one
        of the EDITS likeliest."""
        figures = {}
        editor = NetworkEditor(model.network, self.dictionary, self.embedder)
        for length, rows in self.texts.items():
            targets = list(self.vectors[length].cpu().numpy())
            texts = editor.decode(self.one_error[length])
            mended = np.zeros((len(rows), EDITS))
            for i, draft in enumerate(editor.score(targets, texts, EDITS)):
                for j, edit in enumerate(draft.edits):
                    mended[i, j] = apply(draft.ids, [edit]) == rows[i]
            figures[f"mended_by_1_{length}"] = float(mended[:, 0].mean())
            figures[f"mended_by_{EDITS}_{length}"] = float(mended.any(1).mean())
        return figures

    def _one_error(
        self, row: list[int], corruption: Corruption, rng: np.random.Generator
    ) -> list[int]:
        draft = row
        while draft == row:  # a word may have taken its own place
            draft = corruption.err(row, str(rng.choice(ONE_EDIT)), rng)
        return draft

    def nats(self, model: EditLoss) -> Iterator[tuple[str, float, float]]:
        """`loss`, as in training; nats a place (to keep, replace or delete its word, and to fill or
        leave the gap beside it), a word to be put in, and a token whose follower is looked for."""
        for length, rows in self.texts.items():
            for first in range(0, len(rows), ROWS):
                part = slice(first, first + ROWS)
                drafts, device = self.read(self.drafts[length][part]), self.vectors[length].device
                rng = np.random.default_rng(SEED)
                found = [
                    row_labels(draft, text, rng, guide)
                    for draft, text, guide in zip(
                        drafts.rows(), rows[part], self.guides[length][part], strict=True
                    )
                ]
                labels = collate(found, drafts.ids.shape[1], device)
                output = model(
                    targets=self.vectors[length][part],
                    **drafts._asdict(),
                    labels=labels,
                    candidates=every_word(self.dictionary, device),
                    places=1,
                )
                places = int((drafts.mask.sum(1) - 2).sum())
                yield "loss", float(output.loss), places
                yield "nats_place", float(output.actions), places
                missing = labels.replaced.shape[1] + labels.inserted.shape[1]
                yield "nats_word", float(output.words), missing
                yield "nats_order", float(output.order), len(labels.order[:2].unique(dim=1).T)
