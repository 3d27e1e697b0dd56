"""Generation by transformers alone: the reference for the fast path, and the way around it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList
from transformers.modeling_outputs import BaseModelOutput

from nanov2t.models.lexical import LexicalHead


class LexicalProcessor(LogitsProcessor):  # type: ignore[misc]
    """Adds a lexical head's guess to the scores of every step.

    Args:
        head: the lexical head.
        vectors: [n, dim], the targets.
        beams: rows an input.
    """

    def __init__(self, head: LexicalHead, vectors: Tensor, beams: int):
        self.head, self.vectors = head, vectors.repeat_interleave(beams, 0)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        guess, gap = self.head(self.vectors, input_ids)
        logits: Tensor = scores + guess.scatter_add(1, input_ids, gap)
        return logits.log_softmax(-1)


def generate(
    t5: Any,
    states: Tensor,
    mask: Tensor,
    lexical: LogitsProcessorList,
    beams: int,
    returned: int,
    max_length: int,
) -> Tensor:
    """Texts by beam search, greedily with one beam: ids, long [n * returned, t], padded, those of
    an input adjacent, best first.

    Args:
        t5: a T5ForConditionalGeneration; its encoder and decoder must be equally deep.
        states: [n, s, d_model], of the encoder.
        mask: [n, s], theirs.
        lexical: the processor of the lexical head, if there is one.
        max_length: tokens at most, the start token counted in.
    """
    ids: Tensor = t5.generate(
        encoder_outputs=BaseModelOutput(states),
        attention_mask=mask,
        num_beams=beams,
        num_return_sequences=returned,
        max_length=max_length,
        do_sample=False,
        logits_processor=lexical,
    )
    # It takes a pad id of 0 for none, and fills beams that ended with closing tokens.
    ended = (ids == t5.config.eos_token_id).long().cumsum(1)[:, :-1] > 0
    ended = torch.nn.functional.pad(ended, (1, 0), value=False)
    return ids.masked_fill(ended, t5.config.pad_token_id)
