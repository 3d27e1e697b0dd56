"""A T5 that reads projected vectors, and drafts, and writes text.

A hypothesizer's encoder reads the target vector, projected onto ``pseudo_tokens`` positions; a
corrector's reads

    sep  target  sep  draft  sep  target - draft  sep  ids of the draft

(Morris et al. 2023, section 3). The generator holds a T5 instead of deriving from it, because a
subclass's ``post_init`` would draw the projectors' weights anew, eight times as wide.
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
from nanov2t.t5.checkpoints import GeneratorConfig, read_checkpoint

POSITIONS = {"cpu": 256, "cuda": 16384}
"""Label positions whose logits are held at a time: few for a CPU's cache, many to fill a GPU."""


class Output(NamedTuple):
    loss: Tensor  # mean negative log likelihood per label token, in nats
    logits: Tensor | None  # [n, t, vocabulary], if they are kept


class Generator(nn.Module):
    """A hypothesizer, a corrector, or both in one network; ``config`` says which. Raises a
    ValueError if a hypothesizer gets a draft, or a corrector none."""

    fast = True  # whether :meth:`generate` uses our decoder or that of transformers

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

        def projector() -> nn.Sequential:  # [n, dim] to [n, pseudo_tokens, d_model]
            return nn.Sequential(
                nn.Linear(config.dim, width),
                nn.Dropout(config.projector_dropout),
                nn.GELU(),
                nn.Linear(width, config.pseudo_tokens * d_model),
                nn.Unflatten(1, (config.pseudo_tokens, d_model)),
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
        return int(self.t5.config.eos_token_id)

    @property
    def words(self) -> nn.Parameter:
        """The word embeddings, [vocabulary, d_model]."""
        weight: nn.Parameter = self.t5.shared.weight
        return weight

    def continued(self, config: GeneratorConfig) -> Generator:
        """The same T5 with another config. Parts that both configs have keep their weights."""
        other = Generator(config)
        other.t5 = self.t5
        mine, names = self.state_dict(), other.state_dict().keys()
        other.load_state_dict({name: mine[name] for name in mine if name in names}, strict=False)
        return other

    def unique_weights(self) -> dict[str, Tensor]:
        """The state dict with every shared tensor once."""
        weights = self.state_dict()
        first = {weight.data_ptr(): name for name, weight in reversed(weights.items())}
        return {name: w for name, w in weights.items() if first[w.data_ptr()] == name}

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
        """The loss and logits of labels, with teacher forcing.

        Args:
            target_embeddings, draft_embeddings: float [n, dim], of the texts and of their drafts.
            draft_input_ids, draft_attention_mask: long [n, s], drafts with closing tokens.
            labels: long [n, t], the texts with closing tokens; -100 is ignored.
            keep_logits: False saves memory in training: the logits are never held together.
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
        hidden, words = decoding.scaled(self.t5, hidden), self.t5.lm_head.weight
        if not keep_logits:
            loss = HeadLoss.apply(hidden, words, labels)  # type: ignore[no-untyped-call]
            return Output(loss, None)
        logits = self.t5.lm_head(hidden)
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
        Returns padded ids, long [n * num_return_sequences, t], the beams of one input adjacent,
        best first. `max_length` counts the start and the closing token; by default the longest text
        fits."""
        given = (target_embeddings, draft_embeddings, draft_input_ids, draft_attention_mask)
        states, mask = self.encode(*given)
        length = max_length or self.config.max_length
        if not self.fast:
            beams = num_beams, num_return_sequences
            return decoding.by_transformers(self.t5, states, mask, *beams, length)
        stepper = decoding.Stepper(self.t5, states, mask, length, num_beams)
        if num_beams == 1:
            return decoding.greedy(stepper)
        return decoding.beam(stepper, num_return_sequences)

    @classmethod
    def from_pretrained(cls, path: str | Path) -> Generator:
        """Read a generator, ours or published by others, by its folder or Hub name, to float32 on
        the CPU. Raises a UserError if it is missing, incomplete or damaged."""
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


class HeadLoss(torch.autograd.Function):
    """Mean cross entropy of hidden [n, t, d_model] @ words.T [d_model, vocabulary] against labels,
    long [n, t], -100 ignored. All logits together take 8 GB for 2,048 texts of 33 tokens over
    30,522 words, so a few rows at a time pass the output layer, and only gradients are kept."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, words: Tensor, labels: Tensor) -> Tensor:
        device = hidden.device.type
        autocast = torch.is_autocast_enabled(device)
        dtype = torch.get_autocast_dtype(device) if autocast else hidden.dtype
        low, low_words = hidden.to(dtype), words.to(dtype)
        known = labels.ge(0)
        weights = known / known.sum()  # [n, t], of the positions in the mean
        loss = torch.zeros((), device=hidden.device)
        hidden_grad = torch.empty_like(low)
        words_grad = torch.zeros_like(words, dtype=torch.float32)
        size = max(1, POSITIONS.get(device, 512) // labels.shape[1])
        with torch.autocast(device, enabled=False):
            for start in range(0, len(hidden), size):
                part = slice(start, start + size)
                logits = (low[part] @ low_words.T).float()  # [texts, t, vocabulary]
                target = labels[part].clamp(min=0)[:, :, None]
                # In place, logits become probabilities, then their own gradients: memory traffic
                # bounds this loop.
                logits -= logits.amax(-1, keepdim=True)
                chosen = logits.gather(2, target)
                total = logits.exp_().sum(-1, keepdim=True)
                loss += ((total.log() - chosen)[:, :, 0] * weights[part]).sum()
                weight = weights[part, :, None]
                grad = logits.mul_(weight / total).scatter_add_(2, target, -weight)
                flat = grad.to(dtype).flatten(0, 1)
                hidden_grad[part] = (flat @ low_words).view_as(low[part])
                words_grad += flat.T @ low[part].flatten(0, 1)
        ctx.save_for_backward(hidden_grad, words_grad)
        ctx.dtype = hidden.dtype
        return loss

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        hidden, words = (grad * grad_output for grad in ctx.saved_tensors)
        return hidden.to(ctx.dtype), words, None
