"""Cross entropy over a large vocabulary without ever holding all the logits.

A batch of 2,048 texts of 33 tokens has 8 GB of float32 logits over 30,522 words, and as much again
of gradients. Here a few rows at a time go through the head, their gradients are taken on the spot,
and the logits are dropped.

In the shapes, n is texts, t label positions, v words of the vocabulary, r texts of a part.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

POSITIONS = {"cpu": 256, "cuda": 16384}
"""Label positions at a time: on a CPU few enough to stay near the cache, on a GPU enough to fill
it."""


class HeadLoss(torch.autograd.Function):
    """Mean cross entropy of ``hidden @ words.T``, plus, with a lexical head, its guess (see
    LexicalHead).

    Args:
        hidden: [n, t, d_model], decoder states, scaled.
        words: [v, d_model].
        labels: long [n, t], -100 ignored.
        guess: float32 [n, v], added at every position; None without a lexical head.
        gap: float32 [n, t], added at the positions from i on to the logit of written[:, i].
        written: long [n, t], decoder input ids.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        words: Tensor,
        labels: Tensor,
        guess: Tensor | None,
        gap: Tensor | None,
        written: Tensor,
    ) -> Tensor:
        device = hidden.device.type
        autocast = torch.is_autocast_enabled(device)
        dtype = torch.get_autocast_dtype(device) if autocast else hidden.dtype
        low, low_words = hidden.to(dtype), words.to(dtype)
        known = labels.ge(0)
        weights = known / known.sum()  # [n, t], of the positions in the mean
        t = labels.shape[1]
        from_then_on = torch.ones(t, t, device=hidden.device).tril()  # [position, written place]
        loss = torch.zeros((), device=hidden.device)
        hidden_grad = torch.empty_like(low)
        words_grad = torch.zeros_like(words, dtype=torch.float32)
        guess_grad = None if guess is None else torch.empty_like(guess)
        gap_grad = None if gap is None else torch.empty_like(gap)
        size = max(1, POSITIONS.get(device, 512) // t)
        with torch.autocast(device, enabled=False):
            for start in range(0, len(hidden), size):
                part = slice(start, start + size)
                logits = (low[part] @ low_words.T).float()  # [r, t, v]
                ids = written[part, None, :].expand(-1, t, -1)  # [r, t, t]
                if guess is not None and gap is not None:
                    logits += guess[part, None]
                    logits.scatter_add_(2, ids, gap[part, None] * from_then_on)
                target = labels[part].clamp(min=0)[:, :, None]  # [r, t, 1]
                # In place, logits become probabilities, then their own gradients: memory traffic
                # bounds this loop.
                logits -= logits.amax(-1, keepdim=True)
                chosen = logits.gather(2, target)
                total = logits.exp_().sum(-1, keepdim=True)  # [r, t, 1]
                loss += ((total.log() - chosen)[:, :, 0] * weights[part]).sum()
                weight = weights[part, :, None]
                grad = logits.mul_(weight / total).scatter_add_(2, target, -weight)  # [r, t, v]
                if guess_grad is not None and gap_grad is not None:
                    guess_grad[part] = grad.sum(1)
                    gap_grad[part] = (grad.gather(2, ids) * from_then_on).sum(1)
                flat = grad.to(dtype).flatten(0, 1)  # [r * t, v]
                hidden_grad[part] = (flat @ low_words).view_as(low[part])
                words_grad += flat.T @ low[part].flatten(0, 1)
        ctx.save_for_backward(hidden_grad, words_grad, guess_grad, gap_grad)
        ctx.dtype = hidden.dtype
        return loss

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        scaled = (None if g is None else g * grad_output for g in ctx.saved_tensors)
        hidden, words, guess, gap = scaled
        assert hidden is not None
        return hidden.to(ctx.dtype), words, None, guess, gap, None
