"""Stage 2: a corrector, which rewrites a draft, given the text's vector and the draft's.

    nanov2t train configs/gtr_nq32_stage2.yaml

It learns from greedy drafts of stage 1, which are written once, one of every passage.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nanov2t.core.errors import UserError
from nanov2t.core.passages import drafts_file, drafts_of, read_rows
from nanov2t.embedders.base import Embedder
from nanov2t.inverter import Inverter
from nanov2t.models.hub import locate, network_folder
from nanov2t.t5.checkpoints import load_tokenizer
from nanov2t.t5.drafts import NOTHING, check_facts, draft_arrays, write_drafts
from nanov2t.t5.generator import Generator
from nanov2t.t5.inference import Writer
from nanov2t.t5.stage1 import DRAFTS, Stage1


class Stage2(Stage1):
    """The same crops with a draft of each."""

    def __init__(self, *given: Any):
        super().__init__(*given)
        config, embedder, tokenizer = self.config, self.embedder, self.tokenizer
        longest = config.data.max_tokens
        if config.drafts.files:
            folder = Path(config.drafts.files)
            path = drafts_file(folder, "dev")
            check_facts(path, embedder, longest)
            count = sum(1 for _ in read_rows(self.dev_source, "dev"))
            self.texts = drafts_of(path, range(count), list(self.dev_rows))
        else:
            first = load_hypothesizer(config.drafts.hypothesizer, tokenizer, embedder)
            inverter = Inverter(embedder, tokenizer, first.to(self.accelerator.device), None)
            self.texts = inverter.hypothesize(self.dev_vectors)
            folder = config.out / "drafts"
            write_drafts(inverter, config.data.train, "train", folder)
        path = drafts_file(folder, "train")
        check_facts(path, embedder, longest)
        with self.accelerator.main_process_first():
            arrays = draft_arrays(path, self.corpus, embedder, tokenizer, longest, self.eos)
        self.draft_ids, self.draft_vectors = arrays

    def drafts(self, passages: np.ndarray, step: int, part: int) -> dict[str, Tensor]:
        device = self.accelerator.device
        ids = torch.from_numpy(self.draft_ids[passages].astype(np.int64)).to(device)
        vectors = torch.from_numpy(self.draft_vectors[passages]).to(device)
        return {
            "draft_embeddings": self.noisy(vectors, DRAFTS, step, part),
            "draft_input_ids": ids.clamp(min=0),
            "draft_attention_mask": (ids != NOTHING).long(),
        }

    def dev_drafts(self, model: Generator) -> list[Tensor]:
        assert self.texts is not None
        vectors = torch.from_numpy(self.embedder.encode(self.texts)).to(model.device)
        return [vectors, *Writer(model, self.tokenizer, self.embedder).read(self.texts)]


def load_hypothesizer(path: str, tokenizer: Any, embedder: Embedder) -> Generator:
    """The stage-1 generator of a recipe; a UserError if it cannot be read, is no hypothesizer, or
    is of another embedder or vocabulary."""
    folder = network_folder(locate(path), "hypothesizer")
    first = Generator.from_pretrained(folder)
    known = first.config.embedder
    if not first.config.hypothesizes:
        raise UserError(f"drafts.hypothesizer {path}: is a corrector")
    if first.config.dim != embedder.dim or (
        known is not None and known.fingerprint not in ("", embedder.info.fingerprint)
    ):
        raise UserError(f"drafts.hypothesizer {path} inverts {known}, not {embedder.info}")
    if load_tokenizer(folder).get_vocab() != tokenizer.get_vocab():
        raise UserError(f"drafts.hypothesizer {path}: writes in another vocabulary than the run")
    return first
