"""Cross entropy over a large vocabulary without holding all the logits.

A batch of 2,048 texts of 33 tokens has 8 GB of float32 logits over 30,522 words. Here a few rows at
a time pass the output layer, and only their gradients are kept.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

POSITIONS = {"cpu": 256, "cuda": 16384}
"""Label positions at a time: few enough for a CPU's cache, enough to fill a GPU."""


class HeadLoss(torch.autograd.Function):
    """Mean cross entropy of ``hidden @ words.T``.

    Args:
        hidden: [n, t, d_model], decoder states, scaled.
        words: [vocabulary, d_model].
        labels: long [n, t], -100 ignored.
    """

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
