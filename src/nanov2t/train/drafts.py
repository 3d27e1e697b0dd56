"""The examples of a step, and the drafts that some of them come with."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn import functional as F

from nanov2t.models.generator import Generator
from nanov2t.train.config import TrainConfig
from nanov2t.train.data import Batch, Corpus, Crops, Embed


class Examples:
    """The examples of a step: `plain` ones without a draft, and those with one, drafted a pool at a
    time."""

    def __init__(
        self, config: TrainConfig, corpus: Corpus, tokenizer, embed: Embed, accelerator: Accelerator
    ):
        self.config, self.embed, self.accelerator = config, embed, accelerator
        self.drafted = round(config.optim.batch * config.drafts.share)
        self.plain = config.optim.batch - self.drafted
        split = config.data.held_out > 0
        self.crops = {
            part: Crops(
                corpus, config.data, tokenizer, part if split else "all", config.seed + seed
            )
            for part, seed, used in (
                ("hypothesizer", 0, self.plain),
                ("corrector", 1, self.drafted),
            )
            if used
        }
        self.vectors = None
        if config.data.crop == "start":
            with accelerator.main_process_first():
                self.vectors = corpus.start_vectors(
                    embed.embedder, tokenizer, config.data.max_tokens
                )
        self.pool_steps = max(1, config.drafts.pool // max(1, self.drafted))
        self.pool: dict[str, Tensor] = {}
        self.eos = tokenizer.eos_token_id or tokenizer.sep_token_id

    def per_epoch(self) -> float:
        """Steps in which every window of the text is visited once."""
        used = {"hypothesizer": self.plain, "corrector": self.drafted}
        return max(len(crops) / used[part] for part, crops in self.crops.items())

    @property
    def mine(self) -> slice:
        """This process's share of the examples of a step."""
        return slice(self.accelerator.process_index, None, self.accelerator.num_processes)

    def batch(self, part: str, step: int, size: int, share: slice) -> Batch:
        """A share of the `size` crops of a step."""
        ids, mask, passage = self.crops[part].ids(step, size, share)
        ids, mask = ids.to(self.accelerator.device), mask.to(self.accelerator.device)
        if self.vectors is not None:
            return Batch(ids, mask, torch.from_numpy(self.vectors[passage]).to(ids.device))
        with self.accelerator.autocast(), torch.no_grad():
            return Batch(ids, mask, self.embed(ids, mask))

    def tokens(self, step: int) -> int:
        """Label tokens of a step over all processes."""
        sizes = {"hypothesizer": self.plain, "corrector": self.drafted}
        return sum(
            int(crops.draw(step, sizes[part])[2].sum()) + sizes[part]
            for part, crops in self.crops.items()
        )

    def refill(self, step: int, hypothesizer: Generator, corrector: Generator) -> None:
        """Draft the pool for the steps from `step` on. The examples of a step are corrected 0 to
        `drafts.rounds` - 1 times after their first drafts, equally many each: drafts of drafts
        teach the later rounds."""
        parts: list[dict[str, Tensor]] = []
        for s in range(step, step + self.pool_steps):
            batch = self.batch("corrector", s, self.drafted, self.mine)
            # In blocks, of which every process gets its share: it depends on the example alone, and
            # all are as busy.
            place = torch.arange(self.drafted, device=batch.ids.device)[self.mine]
            rounds = place * self.config.drafts.rounds // self.drafted
            ids, mask, vectors = self._write(hypothesizer, batch.vectors)
            for r in range(1, self.config.drafts.rounds):
                again = (rounds >= r).nonzero()[:, 0]
                if not len(again):
                    break
                ids[again], mask[again], vectors[again] = self._write(
                    corrector, batch.vectors[again], vectors[again], ids[again], mask[again]
                )
            parts.append(
                {
                    "ids": batch.ids,
                    "mask": batch.mask,
                    "vectors": batch.vectors,
                    "draft_ids": ids,
                    "draft_mask": mask,
                    "draft_vectors": vectors,
                }
            )
        self.pool = {key: torch.stack([part[key] for part in parts]).cpu() for key in parts[0]}

    def _write(self, generator: Generator, *given: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Greedy texts: ids with their closing token and mask, long [n, max_tokens + 1], and
        vectors [n, dim]."""
        width = self.config.data.max_tokens + 1
        with self.accelerator.autocast(), torch.no_grad():
            rows = [
                generator.generate(*part, max_length=width + 1)[:, 1:]
                for part in zip(*(x.split(4096) for x in given), strict=True)
            ]
            ids = torch.cat([F.pad(row, (0, width - row.shape[1])) for row in rows])
            ended = (ids == self.eos).cumsum(1)
            text = ended == 0
            vectors = self.embed(ids * text, text.long())
        mask = (text | ((ended == 1) & (ids == self.eos))).long()
        return ids * mask, mask, vectors


def arguments(examples: Examples, step: int) -> Iterator[dict[str, Tensor]]:
    """The micro-batches of a step as arguments of the model."""
    micro, device = examples.config.optim.micro_batch, examples.accelerator.device
    if examples.plain:
        batch = examples.batch("hypothesizer", step, examples.plain, examples.mine)
        labels = labels_of(batch.ids, batch.mask, examples.eos)
        for vectors, row in zip(batch.vectors.split(micro), labels.split(micro), strict=True):
            yield {"target_embeddings": vectors, "labels": row}
    if examples.drafted:
        drafted = {
            key: value[step % examples.pool_steps].to(device)
            for key, value in examples.pool.items()
        }
        labels = labels_of(drafted["ids"], drafted["mask"], examples.eos)
        for i in range(0, len(labels), micro):
            part = slice(i, i + micro)
            yield {
                "target_embeddings": drafted["vectors"][part],
                "draft_embeddings": drafted["draft_vectors"][part],
                "draft_input_ids": drafted["draft_ids"][part],
                "draft_attention_mask": drafted["draft_mask"][part],
                "labels": labels[part],
            }


def labels_of(ids: Tensor, mask: Tensor, eos: int) -> Tensor:
    """Texts with their closing token, -100 beyond it: long [n, t + 1]."""
    labels = F.pad(ids.masked_fill(mask == 0, -100), (0, 1), value=-100)
    return labels.scatter(1, mask.sum(1, keepdim=True), eos)
