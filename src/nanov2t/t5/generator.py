"""Vector (and draft) to text: a T5 that reads projected vectors.

The encoder input of a hypothesizer is the target vector projected onto ``pseudo_tokens`` positions;
that of a corrector

    sep  target  sep  draft  sep  target - draft  sep  ids of the draft

(Morris et al. 2023, section 3). Composed of a T5, not derived from it: a subclass's ``post_init``
would re-initialise the projectors with T5's own distribution, eight times as wide.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import T5Config, T5ForConditionalGeneration

from nanov2t.models.checkpoint import check_weights, write_checkpoint
from nanov2t.t5 import decoding
from nanov2t.t5.checkpoints import read_checkpoint
from nanov2t.t5.config import GeneratorConfig
from nanov2t.t5.loss import HeadLoss


class Output(NamedTuple):
    loss: Tensor
    """Mean negative log likelihood per label token, in nats."""
    logits: Tensor | None
    """[n, t, vocabulary], if they are kept."""


class Projector(nn.Sequential):
    """One vector [n, dim] to pseudo-tokens [n, count, d_model]: two linear layers, GELU between."""

    def __init__(self, dim: int, width: int, d_model: int, count: int, dropout: float):
        super().__init__(
            nn.Linear(dim, width), nn.Dropout(dropout), nn.GELU(), nn.Linear(width, count * d_model)
        )
        self.count = count

    def forward(self, vectors: Tensor) -> Tensor:
        states = vectors
        for layer in self:
            states = layer(states)
        return states.view(len(states), self.count, -1)


class Generator(nn.Module):
    """A hypothesizer, a corrector, or both in one network; ``config`` says which.

    Attributes:
        fast: whether :meth:`generate` uses our decoder or that of transformers.

    Raises:
        ValueError: a draft is given to a hypothesizer, or none to a corrector.
    """

    fast = True

    def __init__(self, config: GeneratorConfig):
        super().__init__()
        self.config = config
        t5 = T5Config(**config.t5)
        if t5.dense_act_fn == "gelu_new":
            # The same function in one pass over memory instead of eight.
            t5.dense_act_fn = "gelu_pytorch_tanh"
        self.t5 = T5ForConditionalGeneration(t5)
        d_model = self.t5.config.d_model
        width = config.projector_width or d_model

        def projector() -> Projector:
            return Projector(
                config.dim, width, d_model, config.pseudo_tokens, config.projector_dropout
            )

        self.target_projector = projector()
        self.draft_projector = projector() if config.corrects else None
        self.difference_projector = projector() if config.corrects else None
        self.norm = nn.LayerNorm(d_model) if config.layer_norm else None

    @property
    def device(self) -> torch.device:
        return self.words.device

    @property
    def eos_token_id(self) -> int:
        """The closing token of a text."""
        return int(self.t5.config.eos_token_id)

    @property
    def words(self) -> nn.Parameter:
        """The word embeddings, [vocabulary, d_model]."""
        weight: nn.Parameter = self.t5.shared.weight
        return weight

    def continued(self, config: GeneratorConfig) -> Generator:
        """The same T5 under another config: what both have keeps its weights, the rest is new."""
        other = Generator(config)
        other.t5 = self.t5
        mine, names = self.state_dict(), other.state_dict().keys()
        other.load_state_dict({name: mine[name] for name in mine if name in names}, strict=False)
        return other

    def unique_weights(self) -> dict[str, Tensor]:
        """The state dict with every shared tensor once."""
        seen: set[int] = set()
        weights = {}
        for name, weight in self.state_dict().items():
            if weight.data_ptr() not in seen:
                seen.add(weight.data_ptr())
                weights[name] = weight.contiguous()
        return weights

    def encode(
        self,
        target_embeddings: Tensor,
        draft_embeddings: Tensor | None = None,
        draft_input_ids: Tensor | None = None,
        draft_attention_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Encoder states [n, s, d_model] and their mask [n, s]."""
        n, scale = len(target_embeddings), self.config.vector_scale
        target = self.target_projector(scale * target_embeddings)
        if draft_embeddings is None or draft_input_ids is None:
            if not self.config.hypothesizes:
                raise ValueError("this generator only corrects: give it a draft")
            parts = [target]
        else:
            if self.draft_projector is None or self.difference_projector is None:
                raise ValueError("this generator only hypothesizes: it takes no draft")
            draft_embeddings = draft_embeddings if self.config.feedback else target_embeddings
            sep = self.words[self.config.sep_token_id].expand(n, 1, -1)  # [n, 1, d_model]
            draft = self.draft_projector(scale * draft_embeddings)
            difference = self.difference_projector(scale * (target_embeddings - draft_embeddings))
            parts = [sep, target, sep, draft, sep, difference, sep, self.t5.shared(draft_input_ids)]
        states = torch.cat(parts, dim=1)  # [n, s, d_model]
        mask = torch.ones(states.shape[:2], dtype=torch.long, device=states.device)
        if draft_input_ids is not None and draft_attention_mask is not None:
            mask[:, -draft_input_ids.shape[1] :] = draft_attention_mask
        if self.norm is not None:
            states = self.norm(states)
        return self.t5.encoder(inputs_embeds=states, attention_mask=mask).last_hidden_state, mask

    def forward(
        self,
        target_embeddings: Tensor,
        draft_embeddings: Tensor | None = None,
        draft_input_ids: Tensor | None = None,
        draft_attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        keep_logits: bool = True,
    ) -> Output:
        """Teacher-forced logits of the labels.

        Args:
            target_embeddings: float [n, dim], vectors of the texts to write.
            draft_embeddings: float [n, dim], vectors of the drafts.
            draft_input_ids: long [n, s], the drafts with their closing token.
            draft_attention_mask: long [n, s].
            labels: long [n, t], the texts with their closing token; -100 is ignored.
            keep_logits: False never holds all the logits, for training in little memory.
        """
        if labels is None:
            raise ValueError("the logits are those of labels: give some")
        states, mask = self.encode(
            target_embeddings, draft_embeddings, draft_input_ids, draft_attention_mask
        )
        hidden = self.t5.decoder(
            input_ids=self.t5._shift_right(labels),
            encoder_hidden_states=states,
            encoder_attention_mask=mask,
            use_cache=False,
        ).last_hidden_state
        if not keep_logits:
            loss = HeadLoss.apply(  # type: ignore[no-untyped-call]
                decoding.scaled(self.t5, hidden), self.t5.lm_head.weight, labels
            )
            return Output(loss, None)
        logits = self.t5.lm_head(decoding.scaled(self.t5, hidden))
        loss = F.cross_entropy(logits.float().flatten(0, 1), labels.flatten(), ignore_index=-100)
        return Output(loss, logits)

    @torch.no_grad()
    def generate(
        self,
        target_embeddings: Tensor,
        draft_embeddings: Tensor | None = None,
        draft_input_ids: Tensor | None = None,
        draft_attention_mask: Tensor | None = None,
        *,
        num_beams: int = 1,
        num_return_sequences: int = 1,
        max_length: int | None = None,
    ) -> Tensor:
        """Write texts by beam search, greedily with one beam, as transformers' ``generate`` does.

        Args:
            max_length: tokens at most, with the start and the closing token; by default enough for
                the longest text.

        Returns:
            long [n * num_return_sequences, t], each with the start token, padded: the beams of one
            input adjacent, best first.
        """
        given = (target_embeddings, draft_embeddings, draft_input_ids, draft_attention_mask)
        states, mask = self.encode(*given)
        length = max_length or self.config.max_length
        if not self.fast:
            return decoding.by_transformers(
                self.t5, states, mask, num_beams, num_return_sequences, length
            )
        stepper = decoding.Stepper(self.t5, states, mask, length)
        if num_beams == 1:
            return decoding.greedy(stepper)
        return decoding.beam(stepper, num_beams, num_return_sequences)

    @classmethod
    def from_pretrained(cls, path: str | Path) -> Generator:
        """Read a generator, float or int8, ours or published by others, to float32 on the CPU.

        Args:
            path: its folder, or its name on the Hub.

        Raises:
            UserError: the folder is missing, incomplete or damaged.
        """
        config, weights = read_checkpoint(path)
        with torch.device("meta"):
            generator = cls(config)
        generator = generator.to_empty(device="cpu")
        generator.t5.tie_weights()
        if "t5.lm_head.weight" in weights:
            # T5 v1.1 and flan: the output words are not the input words.
            head = generator.t5.lm_head
            head.weight = nn.Parameter(torch.empty_like(head.weight))
        check_weights(generator.unique_weights(), weights, path)
        generator.load_state_dict(weights, strict=False)
        return generator.eval()

    def save_pretrained(self, path: str | Path, tokenizer: Any = None, int8: bool = False) -> None:
        """Write config.json, model.safetensors and the tokenizer; `int8` rounds the weights."""
        write_checkpoint(path, self.config, self.unique_weights(), tokenizer, int8)
